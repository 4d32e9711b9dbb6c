// Rate limits of the simulator's own: off unless set, one second's worth at a time, refilled by its clock.
import { expect, test } from "vitest";
import { event, openStream, type Refusal, refusal, startMetering, startWorld, v2Event } from "./harness.ts";

/** How many of `count` calls at one time go through, and how the first of the others is refused. */
async function burst(count: number, call: (index: number) => Promise<unknown>) {
  let passed = 0;
  let refused: Refusal | undefined;
  for (let index = 0; index < count; index += 1) {
    try {
      await call(index);
      passed += 1;
    } catch (error) {
      refused ??= await refusal(Promise.reject(error));
    }
  }
  return { passed, refused };
}

test("by default there are none", async () => {
  const { stripe } = await startWorld();
  expect(await burst(150, () => stripe.customers.list())).toEqual({ passed: 150, refused: undefined });
});

test("sandbox: 25 calls a second, of whatever kind, and more once time has passed", async () => {
  const world = await startMetering({ settings: { rateLimits: "sandbox" } });
  const { simulator, stripe, customer } = world;
  await simulator.advanceClock(1_000);
  const { send } = await openStream(world);
  const calls = [
    () => stripe.customers.list(),
    () => stripe.billing.meterEvents.create(event(customer, 1)),
    () => stripe.v2.billing.meterEvents.create(v2Event(customer, 1)),
    () => send(v2Event(customer, 1), v2Event(customer, 1)),
  ];
  const call = (index: number) => calls[index % calls.length]?.() ?? Promise.resolve();
  expect(await burst(40, call)).toMatchObject({
    passed: 24,
    refused: { status: 429, code: "rate_limit", reason: "global-rate", shouldRetry: undefined },
  });
  await simulator.advanceClock(200);
  expect(await burst(40, call)).toMatchObject({ passed: 5 });
  await simulator.advanceClock(3_600_000);
  expect(await burst(40, () => stripe.customers.list())).toMatchObject({ passed: 25 });
});

test("live: meter events and the stream have limits apart, the latter by events", async () => {
  const world = await startMetering({ settings: { rateLimits: "live" } });
  const { simulator, stripe, customer } = world;
  const { send } = await openStream(world);
  await simulator.advanceClock(1_000);
  const batch = Array.from({ length: 100 }, () => v2Event(customer, 1));
  expect(await burst(103, () => send(...batch))).toMatchObject({
    passed: 100,
    refused: { class: "RateLimitError", status: 429, code: "rate_limit", reason: "endpoint-rate" },
  });
  const single = (index: number) =>
    index % 2 === 0
      ? stripe.billing.meterEvents.create(event(customer, 1))
      : stripe.v2.billing.meterEvents.create(v2Event(customer, 1));
  expect(await burst(1_004, single)).toMatchObject({ passed: 1_000, refused: { reason: "endpoint-rate" } });
  expect(await burst(103, () => stripe.customers.list())).toMatchObject({
    passed: 100,
    refused: { class: "StripeRateLimitError", reason: "global-rate" },
  });
  expect(simulator.sum("tokens")).toBe("1000");
});
