// Faults: what a client sees, and what Stripe did meanwhile.
import { expect, test } from "vitest";
import type { Fault } from "../../../src/stripe-simulator/control/faults.ts";
import { event, raw, refusal, startMetering } from "./harness.ts";

const ROUTE = "POST /v1/billing/meter_events";

/** Sends one event under a fault, then resends it unharmed with the same key. */
async function strike(fault: Omit<Fault, "route">) {
  const world = await startMetering();
  const { stripe, simulator, customer } = world;
  simulator.addFault({ route: ROUTE, ...fault } as Fault);
  const send = () => stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "one" });
  const refused = await refusal(send());
  const countedMeanwhile = simulator.sum("tokens");
  simulator.clearFaults();
  return { ...world, refused, countedMeanwhile, resend: send };
}

test.each<[string, Omit<Fault, "route">, object]>([
  [
    "429 of the rate limiter",
    { kind: "rate_limited", next: 1, reason: "endpoint-rate", shouldRetry: false },
    { class: "StripeRateLimitError", status: 429, shouldRetry: "false" },
  ],
  ["429 without headers", { kind: "rate_limited", next: 1 }, { status: 429, shouldRetry: undefined }],
  ["lock_timeout", { kind: "lock_timeout", next: 1 }, { status: 429, code: "lock_timeout", shouldRetry: "true" }],
  ["409", { kind: "conflict", next: 1 }, { status: 409 }],
  ["403", { kind: "forbidden", next: 1 }, { class: "StripePermissionError", status: 403 }],
  ["500", { kind: "server_error", next: 1 }, { class: "StripeAPIError", status: 500 }],
  ["503", { kind: "server_error", next: 1, status: 503 }, { status: 503 }],
  ["HTML 502", { kind: "bad_gateway", next: 1 }, { class: "StripeAPIError", status: undefined }],
  ["reset before processing", { kind: "reset_before", next: 2 }, { class: "StripeConnectionError" }],
])("%s: nothing happened, and a resend goes through", async (_name, fault, seen) => {
  const { simulator, refused, countedMeanwhile, resend } = await strike(fault);
  expect(refused).toMatchObject(seen);
  expect(countedMeanwhile).toBe("0");
  expect((await resend()).lastResponse.headers["idempotent-replayed"]).toBeUndefined();
  expect(simulator.sum("tokens")).toBe("5");
});

test.each<[string, Omit<Fault, "route">, object]>([
  ["reset after processing", { kind: "reset_after", next: 2 }, { class: "StripeConnectionError" }],
  ["a truncated 200", { kind: "truncated", next: 1 }, { class: "StripeConnectionError" }],
  ["HTML 502 after processing", { kind: "bad_gateway", next: 1, processed: true }, { class: "StripeAPIError" }],
])("%s: it was counted, and a resend is replayed", async (_name, fault, seen) => {
  const { simulator, refused, countedMeanwhile, resend } = await strike(fault);
  expect(refused).toMatchObject(seen);
  expect(countedMeanwhile).toBe("5");
  expect((await resend()).lastResponse.headers["idempotent-replayed"]).toBe("true");
  expect(simulator.sum("tokens")).toBe("5");
  expect(simulator.meterEvents()).toHaveLength(1);
});

test("a 500 after processing that was not saved leaves only the identifier as guard", async () => {
  const { simulator, refused, countedMeanwhile, resend } = await strike({
    kind: "server_error",
    next: 1,
    processed: true,
  });
  expect(refused).toMatchObject({ status: 500 });
  expect(countedMeanwhile).toBe("5");
  expect((await refusal(resend())).message).toBe("An event already exists with identifier one.");
  expect(simulator.sum("tokens")).toBe("5");
});

test("a saved 500 is replayed under its key; nothing is ever counted under it", async () => {
  const { stripe, customer, simulator, refused, resend } = await strike({ kind: "server_error", next: 1, saved: true });
  expect(await refusal(resend())).toEqual(refused);
  expect(simulator.sum("tokens")).toBe("0");
  await stripe.billing.meterEvents.create(event(customer, 5, "one"), { idempotencyKey: "another" });
  expect(simulator.sum("tokens")).toBe("5");
});

test("a slow answer outlives the client's timeout; it was counted", async () => {
  const { stripe, simulator, customer } = await startMetering();
  simulator.addFault({ route: ROUTE, kind: "slow_answer", next: 1, delayMs: 400 });
  expect(await refusal(stripe.billing.meterEvents.create(event(customer, 5, "one"), { timeout: 100 }))).toMatchObject({
    class: "StripeConnectionError",
  });
  expect(simulator.sum("tokens")).toBe("5");
});

test("slow processing counts only in the end", async () => {
  const { stripe, simulator, customer } = await startMetering();
  simulator.addFault({ route: ROUTE, kind: "slow_processing", next: 1, delayMs: 200 });
  const call = stripe.billing.meterEvents.create(event(customer, 5, "one"));
  await expect.poll(() => simulator.state().faults.struck).toBe(1);
  expect(simulator.sum("tokens")).toBe("0");
  await call;
  expect(simulator.sum("tokens")).toBe("5");
});

test("a request that is slow to process is in hand until it is done, though its caller has hung up", async () => {
  const { stripe, simulator, customer } = await startMetering();
  simulator.addFault({ route: ROUTE, kind: "slow_processing", next: 1, delayMs: 300 });
  await expect(stripe.billing.meterEvents.create(event(customer, 5, "one"), { timeout: 100 })).rejects.toThrow();
  expect(simulator.sum("tokens")).toBe("0");
  await simulator.requestsSettled();
  expect(simulator.sum("tokens")).toBe("5");
});

test("faults strike their route only, as often as told, and a share of all by a repeatable draw", async () => {
  const run = async () => {
    const { stripe, simulator, customer } = await startMetering({ seed: "draws" });
    simulator.addFault({ route: ROUTE, kind: "conflict", rate: 0.3 });
    simulator.addFault({ route: "GET /v1/customers/:id", kind: "conflict", next: 1 });
    const outcomes: boolean[] = [];
    for (let i = 0; i < 100; i += 1) {
      const call = stripe.billing.meterEvents.create(event(customer, 1));
      outcomes.push(
        await call.then(
          () => true,
          () => false,
        ),
      );
    }
    expect(await refusal(stripe.customers.retrieve(customer))).toMatchObject({ status: 409 });
    await stripe.customers.retrieve(customer);
    return { outcomes, state: simulator.state() };
  };
  const first = await run();
  const failed = first.outcomes.filter((isOk) => !isOk).length;
  expect(failed).toBeGreaterThan(15);
  expect(failed).toBeLessThan(45);
  expect(first.state.answered[ROUTE]).toEqual({ 200: 100 - failed, 409: failed });
  expect((await run()).outcomes).toEqual(first.outcomes);
});

test("meter events of one customer and meter at the same time conflict, if told to; others don't", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const bob = (await stripe.customers.create({})).id;
  simulator.setMeterConcurrency({ enabled: true, holdMs: 200 });
  const calls = [event(customer, 1, "a"), event(customer, 1, "b"), event(bob, 1, "c")].map((sent) =>
    stripe.billing.meterEvents.create(sent).then(
      () => 200,
      (error: { readonly statusCode: number }) => error.statusCode,
    ),
  );
  const statuses = await Promise.all(calls);
  expect(statuses.slice(0, 2).sort()).toEqual([200, 409]);
  expect(statuses[2]).toBe(200);
  await stripe.billing.meterEvents.create(event(customer, 1, "d"));
  expect(simulator.sum("tokens", customer)).toBe("2");
});

test("faults can be set, read and cleared over HTTP; a wrong one is named", async () => {
  const { simulator, stripe, customer } = await startMetering();
  const fault = { route: ROUTE, kind: "conflict", next: 2 };
  expect((await raw(simulator, "POST", "/_simulator/faults", JSON.stringify(fault))).body).toEqual({
    rules: [fault],
    struck: 0,
  });
  expect(await refusal(stripe.billing.meterEvents.create(event(customer, 5)))).toMatchObject({ status: 409 });
  expect((await raw(simulator, "GET", "/_simulator/faults")).body).toEqual({
    rules: [{ ...fault, next: 1 }],
    struck: 1,
  });
  expect((await raw(simulator, "DELETE", "/_simulator/faults")).body).toMatchObject({ rules: [] });
  expect(await raw(simulator, "POST", "/_simulator/faults", JSON.stringify({ route: "*", kind: "no" }))).toMatchObject({
    status: 400,
  });
});
