// Idempotency keys on v1: replay, mismatch, in flight, and what is not kept.
import { expect, test } from "vitest";
import { event, refusal, startMetering } from "./harness.ts";

const DAY_MS = 86_400_000;

test("an equal request under the same key gets the first answer again, and counts once", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const first = await stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" });
  const second = await stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" });
  expect(second).toEqual(first);
  expect(first.lastResponse.headers["idempotent-replayed"]).toBeUndefined();
  expect(second.lastResponse.headers["idempotent-replayed"]).toBe("true");
  expect(second.lastResponse.requestId).not.toBe(first.lastResponse.requestId);
  expect(simulator.sum("tokens")).toBe("5");
});

test("the answer kept is that of then, not of now", async () => {
  const { stripe } = await startMetering();
  const first = await stripe.customers.create({ name: "Before" }, { idempotencyKey: "k" });
  await stripe.customers.update(first.id, { name: "After" });
  const second = await stripe.customers.create({ name: "Before" }, { idempotencyKey: "k" });
  expect(second).toMatchObject({ id: first.id, name: "Before" });
});

test("another request under the same key is an idempotency_error", async () => {
  const { stripe, simulator, customer } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" });
  const refused = await refusal(stripe.billing.meterEvents.create(event(customer, 6, "one"), { idempotencyKey: "k" }));
  expect(refused).toMatchObject({ class: "StripeIdempotencyError", status: 400 });
  expect(refused.message).toMatch(/^Keys for idempotent requests can only be used with the same parameters/);
  expect(simulator.sum("tokens")).toBe("5");
});

test("a refusal by the endpoint is kept and replayed, even once its cause is gone", async () => {
  const { stripe, customer } = await startMetering();
  const sent = { ...event(customer, 5, "one"), event_name: "later" };
  const first = await refusal(stripe.billing.meterEvents.create(sent, { idempotencyKey: "k" }));
  await stripe.billing.meters.create({
    display_name: "later",
    event_name: "later",
    default_aggregation: { formula: "sum" },
  });
  expect(await refusal(stripe.billing.meterEvents.create(sent, { idempotencyKey: "k" }))).toEqual(first);
  await stripe.billing.meterEvents.create(sent, { idempotencyKey: "k2" });
});

test("a failed parameter check is not kept", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const broken = { ...event(customer, 5, "one"), timestamp: Number.NaN };
  expect(await refusal(stripe.billing.meterEvents.create(broken, { idempotencyKey: "k" }))).toMatchObject({
    code: "parameter_invalid_integer",
  });
  await stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" });
  expect(simulator.sum("tokens")).toBe("5");
});

test("while the first request is under way, the key answers 409", async () => {
  const { stripe, simulator, customer } = await startMetering();
  simulator.addFault({ route: "POST /v1/billing/meter_events", kind: "slow_answer", next: 1, delayMs: 300 });
  const first = stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" });
  await expect.poll(() => simulator.sum("tokens")).toBe("5");
  expect(
    await refusal(stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" })),
  ).toMatchObject({ status: 409, code: "idempotency_key_in_use" });
  await first;
  const third = await stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "k" });
  expect(third.lastResponse.headers["idempotent-replayed"]).toBe("true");
  expect(simulator.sum("tokens")).toBe("5");
});

test("after 24 hours key and identifier are both forgotten, and a resend is counted twice", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const sent = event(customer, 5, "one", simulator.nowMs() / 1_000);
  await stripe.billing.meterEvents.create(sent, { idempotencyKey: "one" });
  await simulator.advanceClock(DAY_MS - 1);
  await stripe.billing.meterEvents.create(sent, { idempotencyKey: "one" });
  expect(simulator.sum("tokens")).toBe("5");
  await simulator.advanceClock(1);
  const late = await stripe.billing.meterEvents.create(sent, { idempotencyKey: "one" });
  expect(late.lastResponse.headers["idempotent-replayed"]).toBeUndefined();
  expect(simulator.sum("tokens")).toBe("10");
});

test("keys are at most 255 characters", async () => {
  const { stripe, customer } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, 1), { idempotencyKey: "k".repeat(255) });
  expect(
    await refusal(stripe.billing.meterEvents.create(event(customer, 1), { idempotencyKey: "k".repeat(256) })),
  ).toMatchObject({ status: 400 });
});
