// v2 meter events: JSON, RFC 3339, the checks that are made at once, and v2's own errors and idempotency.
import { describe, expect, test } from "vitest";
import { raw, refusal, START, START_MS, startMetering, v2Event } from "./harness.ts";

const DAY = 86_400;
const PATH = "/v2/billing/meter_events";

/** A v2 request as the wire has it. */
function json(simulator: { readonly url: string }, path: string, body: unknown, headers: Record<string, string> = {}) {
  return raw(simulator, "POST", path, JSON.stringify(body), { "content-type": "application/json", ...headers });
}

test("an event is counted; the answer echoes it with RFC 3339 times, and has no id", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const sent = {
    ...v2Event(customer, 25, "one"),
    timestamp: "2026-03-10T11:59:59.5+00:00",
    payload: { stripe_customer_id: customer, value: "25", model: "any/thing", token_type: "input" },
  };
  const answer = await stripe.v2.billing.meterEvents.create(sent);
  expect(answer).toEqual({
    object: "v2.billing.meter_event",
    created: new Date(START_MS).toISOString(),
    event_name: "tokens",
    identifier: "one",
    livemode: false,
    payload: sent.payload,
    timestamp: "2026-03-10T11:59:59.500Z",
  });
  expect(answer.lastResponse.requestId).toMatch(/^req_/);
  expect(simulator.meterEvents()).toMatchObject([
    { identifier: "one", customer, value: "25", inlet: "v2", timestamp: START - 1, received_ms: START_MS },
  ]);
});

describe("refusals", () => {
  const cases: readonly [string, (sent: ReturnType<typeof v2Event>) => object, object][] = [
    ["no meter of that name", (sent) => ({ ...sent, event_name: "nothing" }), { code: "no_meter" }],
    [
      "no customer in the payload",
      (sent) => ({ ...sent, payload: { value: "1" } }),
      {
        code: "payload_no_customer_defined",
        message: "Customer mapping key stripe_customer_id not found in payload.",
      },
    ],
    [
      "no value in the payload",
      ({ payload: { value: _value, ...payload }, ...sent }) => ({ ...sent, payload }),
      { code: "payload_no_value_defined" },
    ],
    ...["1.5", "abc", "1234567890123456"].map((value): (typeof cases)[number] => [
      `the value ${value}`,
      (sent) => ({ ...sent, payload: { ...sent.payload, value } }),
      { code: "payload_invalid_value" },
    ]),
    [
      "a second too old",
      (sent) => ({ ...sent, timestamp: new Date((START - 35 * DAY - 1) * 1_000).toISOString() }),
      { code: "timestamp_too_far_in_past" },
    ],
    [
      "a second too far ahead",
      (sent) => ({ ...sent, timestamp: new Date((START + 301) * 1_000).toISOString() }),
      { code: "timestamp_in_future" },
    ],
    ["a time in seconds, as text", (sent) => ({ ...sent, timestamp: String(START) }), { code: "invalid_fields" }],
    ["a time in seconds", (sent) => ({ ...sent, timestamp: START }), { code: "invalid_fields" }],
    ["a local time", (sent) => ({ ...sent, timestamp: "2026-03-10T12:00:00" }), { code: "invalid_fields" }],
    [
      "a number in the payload",
      (sent) => ({ ...sent, payload: { ...sent.payload, value: 1 } }),
      { code: "invalid_fields", message: "Invalid string for payload[value]" },
    ],
    ["no payload", ({ event_name }) => ({ event_name }), { code: "invalid_fields" }],
    ["an unknown field", (sent) => ({ ...sent, customer: "cus_1" }), { code: "invalid_fields" }],
    [
      "an identifier of 101 characters",
      (sent) => ({ ...sent, identifier: "x".repeat(101) }),
      { code: "invalid_fields" },
    ],
  ];

  test.each(cases)("%s: 400 with a code and a message, no type", async (_name, change, expected) => {
    const { simulator, customer } = await startMetering();
    const answer = await json(simulator, PATH, change(v2Event(customer, 1)));
    expect(answer).toMatchObject({ status: 400, body: { error: expected } });
    expect(Object.keys(answer.body["error"] as object).sort()).toEqual(["code", "message"]);
    expect(simulator.meterEvents()).toEqual([]);
  });

  test("are StripeInvalidRequestErrors to the SDK; an archived meter is one", async () => {
    const { stripe, customer, meter } = await startMetering();
    await stripe.billing.meters.deactivate(meter);
    expect(await refusal(stripe.v2.billing.meterEvents.create(v2Event(customer, 1)))).toMatchObject({
      class: "StripeInvalidRequestError",
      status: 400,
      code: "archived_meter",
    });
  });

  test("a body that is no JSON, and a key that is none", async () => {
    const { simulator } = await startMetering();
    expect(await raw(simulator, "POST", PATH, "event_name=tokens")).toMatchObject({
      status: 400,
      body: { error: { code: "invalid_fields" } },
    });
    expect(await json(simulator, PATH, {}, { authorization: "Bearer no" })).toMatchObject({
      status: 401,
      body: { error: { code: "unauthorized" } },
    });
    expect(await raw(simulator, "POST", "/v2/billing/nothing", "{}")).toMatchObject({
      status: 404,
      body: { error: { code: "not_found" } },
    });
  });
});

test("an identifier is unique over v1 and v2; after it expired, the event IS counted again", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const v1 = () =>
    stripe.billing.meterEvents.create({
      event_name: "tokens",
      identifier: "one",
      payload: { stripe_customer_id: customer, value: "5" },
    });
  const v2 = () => stripe.v2.billing.meterEvents.create(v2Event(customer, 5, "one"));
  await v1();
  expect(await refusal(v2())).toMatchObject({ status: 400, code: "duplicate_meter_event" });
  await simulator.advanceClock(DAY * 1_000);
  await v2();
  expect(simulator.sum("tokens")).toBe("10");
  expect(await refusal(v1())).toMatchObject({ message: "An event already exists with identifier one." });
});

test("a customer that is not there is no synchronous error of v2; the event never counts", async () => {
  const { stripe, simulator } = await startMetering();
  await stripe.v2.billing.meterEvents.create(v2Event("cus_no", 5, "one"));
  await simulator.advanceClock(12_000);
  expect(simulator.meterEvents()).toEqual([]);
  expect(simulator.state().asynchronous).toMatchObject({ taken: 1, rejected: 1 });
});

test("events of one customer and meter at the same time conflict over v1 and v2, if told to", async () => {
  const { stripe, simulator, customer } = await startMetering();
  simulator.setMeterConcurrency({ enabled: true, holdMs: 200 });
  const first = stripe.v2.billing.meterEvents.create(v2Event(customer, 1, "a"));
  await expect.poll(() => simulator.sum("tokens")).toBe("1");
  const second = await refusal(stripe.v2.billing.meterEvents.create(v2Event(customer, 1, "b")));
  expect(second).toMatchObject({ status: 409, code: "too_many_concurrent_requests" });
  const third = { event_name: "tokens", payload: { stripe_customer_id: customer, value: "1" } };
  expect(await refusal(stripe.billing.meterEvents.create(third))).toMatchObject({ status: 409 });
  await first;
});

describe("adjustments", () => {
  const cancel = (identifier: string) => ({ event_name: "tokens", type: "cancel" as const, cancel: { identifier } });

  test("cancel an event, whichever way it came in", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await stripe.billing.meterEvents.create({
      event_name: "tokens",
      identifier: "one",
      payload: { stripe_customer_id: customer, value: "5" },
    });
    expect(await stripe.v2.billing.meterEventAdjustments.create(cancel("one"))).toMatchObject({
      id: expect.stringMatching(/^mtr_event_adj_/),
      object: "v2.billing.meter_event_adjustment",
      created: new Date(START_MS).toISOString(),
      cancel: { identifier: "one" },
      status: "pending",
    });
    expect(simulator.sum("tokens")).toBe("0");
  });

  test("are refused for what is not there, was cancelled, or is a day old", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await stripe.v2.billing.meterEvents.create(v2Event(customer, 5, "one"));
    await stripe.v2.billing.meterEvents.create(v2Event(customer, 5, "old"));
    await stripe.v2.billing.meterEventAdjustments.create(cancel("one"));
    await simulator.advanceClock(DAY * 1_000);
    for (const identifier of ["none", "one", "old"]) {
      expect(await refusal(stripe.v2.billing.meterEventAdjustments.create(cancel(identifier)))).toMatchObject({
        status: 400,
        code: "invalid_cancel_configuration",
      });
    }
    expect(simulator.sum("tokens")).toBe("5");
  });
});

describe("idempotency keys", () => {
  test("what was done is answered again for 30 days, by which the identifier has expired long since", async () => {
    const { stripe, simulator, customer } = await startMetering();
    const send = () => stripe.v2.billing.meterEvents.create(v2Event(customer, 5, "one"), { idempotencyKey: "k" });
    const first = await send();
    await simulator.advanceClock(30 * DAY * 1_000 - 1);
    expect(await send()).toEqual(first);
    await simulator.advanceClock(1);
    expect(await send()).not.toEqual(first);
    expect(simulator.sum("tokens")).toBe("10");
  });

  test("what failed is carried out again, unlike on v1", async () => {
    const { stripe, simulator, customer } = await startMetering();
    const sent = { ...v2Event(customer, 5, "one"), event_name: "later" };
    const send = () => stripe.v2.billing.meterEvents.create(sent, { idempotencyKey: "k" });
    expect(await refusal(send())).toMatchObject({ code: "no_meter" });
    await stripe.billing.meters.create({
      display_name: "later",
      event_name: "later",
      default_aggregation: { formula: "sum" },
    });
    await send();
    expect(simulator.sum("later")).toBe("5");
  });

  test("a failure that had taken effect: the key gives the true answer if it was saved, else the identifier guards", async () => {
    const { stripe, simulator, customer } = await startMetering();
    for (const saved of [true, false]) {
      const identifier = `saved ${saved}`;
      simulator.addFault({ route: `POST ${PATH}`, kind: "server_error", next: 1, processed: true, saved });
      const send = () =>
        stripe.v2.billing.meterEvents.create(v2Event(customer, 5, identifier), { idempotencyKey: identifier });
      expect(await refusal(send())).toMatchObject({ status: 500, class: "StripeAPIError" });
      if (saved) expect(await send()).toMatchObject({ identifier });
      else expect(await refusal(send())).toMatchObject({ code: "duplicate_meter_event" });
    }
    expect(simulator.sum("tokens")).toBe("10");
  });

  test("another request under the same key is an idempotency_error, and v1's keys are others", async () => {
    const { stripe, customer } = await startMetering();
    const send = (value: number) =>
      stripe.v2.billing.meterEvents.create(v2Event(customer, value, "one"), { idempotencyKey: "k" });
    await stripe.customers.create({}, { idempotencyKey: "k" });
    await send(5);
    expect(await refusal(send(6))).toMatchObject({ class: "StripeIdempotencyError", status: 400 });
  });
});
