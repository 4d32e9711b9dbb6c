// v1 meter events: what is accepted, what is refused and in which words, and what is counted.
import { describe, expect, test } from "vitest";
import { createMeter, event, raw, refusal, START, START_MS, startMetering } from "./harness.ts";

const DAY = 86_400;
const DAY_MS = DAY * 1_000;

test("an accepted event is answered with what was sent, without an id, and is counted", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const answer = await stripe.billing.meterEvents.create({
    event_name: "tokens",
    identifier: "id-1",
    timestamp: START - 60,
    payload: { stripe_customer_id: customer, value: "25", model: "gpt/x y&z+[1]" },
  });
  expect(answer).toMatchObject({
    object: "billing.meter_event",
    created: START,
    event_name: "tokens",
    identifier: "id-1",
    livemode: false,
    payload: { stripe_customer_id: customer, value: "25", model: "gpt/x y&z+[1]" },
    timestamp: START - 60,
  });
  expect(answer).not.toHaveProperty("id");
  expect(simulator.sum("tokens", customer)).toBe("25");
  expect(simulator.meterEvents()).toMatchObject([
    { identifier: "id-1", value: "25", times_accepted: 1, received_ms: START_MS },
  ]);
});

test("without timestamp and identifier, now and a generated one are taken", async () => {
  const { stripe, customer } = await startMetering();
  const first = await stripe.billing.meterEvents.create(event(customer, 1));
  const second = await stripe.billing.meterEvents.create(event(customer, 1));
  expect(first.timestamp).toBe(START);
  expect(first.identifier).not.toBe("");
  expect(second.identifier).not.toBe(first.identifier);
});

describe("refusals", () => {
  const noCode = { class: "StripeInvalidRequestError", status: 400, code: undefined };
  const cases: readonly {
    readonly name: string;
    readonly change: (sent: ReturnType<typeof event>) => object;
    readonly expected: object;
  }[] = [
    {
      name: "no meter of that name",
      change: (sent) => ({ ...sent, event_name: "nothing" }),
      expected: { ...noCode, message: 'No active meter found for event name "nothing".' },
    },
    {
      name: "unknown customer",
      change: (sent) => ({ ...sent, payload: { ...sent.payload, stripe_customer_id: "cus_no" } }),
      expected: { ...noCode, code: "resource_missing", message: "No such customer: 'cus_no'" },
    },
    {
      name: "no customer in the payload",
      change: (sent) => ({ ...sent, payload: { value: "1" } }),
      expected: { ...noCode, message: "Customer mapping key stripe_customer_id not found in payload." },
    },
    {
      name: "no value in the payload",
      change: (sent) => ({ ...sent, payload: { stripe_customer_id: sent.payload.stripe_customer_id } }),
      expected: { ...noCode, message: "Value key value not found in payload." },
    },
    ...["1.5", "1e3", "abc", "1,000", " 1", "0x10"].map((value) => ({
      name: `value ${JSON.stringify(value)}`,
      change: (sent: ReturnType<typeof event>) => ({ ...sent, payload: { ...sent.payload, value } }),
      expected: { ...noCode, message: `The value in the event payload must be a whole number. Received ${value}.` },
    })),
    {
      name: "16 significant digits",
      change: (sent) => ({ ...sent, payload: { ...sent.payload, value: "1234567890123456" } }),
      expected: {
        ...noCode,
        message: "The value in the event payload can have at most 15 digits. Received 1234567890123456.",
      },
    },
    {
      name: "a second too old",
      change: (sent) => ({ ...sent, timestamp: START - 35 * DAY - 1 }),
      expected: {
        ...noCode,
        message:
          "The event timestamp cannot be more than 35 days in past. " +
          `Expected a timestamp greater than or equal to ${START - 35 * DAY}.`,
      },
    },
    {
      name: "a second too far ahead",
      change: (sent) => ({ ...sent, timestamp: START + 301 }),
      expected: {
        ...noCode,
        message:
          "The event timestamp cannot be more than 5 minutes in the future. " +
          `Expected a timestamp less than or equal to ${START + 300}.`,
      },
    },
    {
      name: "no event_name",
      change: ({ payload }) => ({ payload }),
      expected: { ...noCode, code: "parameter_missing", message: "Missing required param: event_name." },
    },
    {
      name: "no payload",
      change: () => ({ event_name: "tokens" }),
      expected: { ...noCode, code: "parameter_missing", message: "Missing required param: payload." },
    },
    {
      name: "an empty event_name",
      change: (sent) => ({ ...sent, event_name: "" }),
      expected: {
        ...noCode,
        code: "parameter_invalid_empty",
        message:
          "You passed an empty string for 'event_name'. We assume empty values are an attempt to unset a parameter; however " +
          "'event_name' cannot be unset. You should remove 'event_name' from your request or supply a non-empty value.",
      },
    },
    {
      name: "an unknown parameter",
      change: (sent) => ({ ...sent, customer: "cus_1" }),
      expected: { ...noCode, code: "parameter_unknown", message: "Received unknown parameter: customer" },
    },
    {
      name: "an identifier of 101 characters",
      change: (sent) => ({ ...sent, identifier: "x".repeat(101) }),
      expected: {
        ...noCode,
        message: "Invalid string: xxxxxxxxxxxxxxxxxxxx...xxxxxxxxxx; must be at most 100 characters",
      },
    },
    {
      name: "a timestamp in milliseconds' text",
      change: (sent) => ({ ...sent, timestamp: "12:00" }),
      expected: { ...noCode, code: "parameter_invalid_integer", message: "Invalid integer: 12:00" },
    },
  ];

  test.each(cases)("$name", async ({ change, expected }) => {
    const { stripe, simulator, customer } = await startMetering();
    const sent = change(event(customer, 1)) as ReturnType<typeof event>;
    expect(await refusal(stripe.billing.meterEvents.create(sent))).toMatchObject(expected);
    expect(simulator.meterEvents()).toEqual([]);
  });

  test("a meter that was deactivated, until it is active again", async () => {
    const { stripe, customer, meter } = await startMetering();
    await stripe.billing.meters.deactivate(meter);
    expect(await refusal(stripe.billing.meterEvents.create(event(customer, 1)))).toMatchObject({
      message: 'No active meter found for event name "tokens".',
    });
    await stripe.billing.meters.reactivate(meter);
    await stripe.billing.meterEvents.create(event(customer, 1));
  });

  test("a customer that was deleted", async () => {
    const { stripe, customer } = await startMetering();
    await stripe.customers.del(customer);
    expect(await refusal(stripe.billing.meterEvents.create(event(customer, 1)))).toMatchObject({
      status: 400,
      message: `No such customer: '${customer}'`,
    });
  });
});

test.each([
  ["zero", "0", "0"],
  ["a negative value", "-12", "-12"],
  ["15 significant digits", "999999999999999", "999999999999999"],
  ["leading zeros, which are not significant", "000000000000000000012", "12"],
])("%s is accepted", async (_name, value, sum) => {
  const { stripe, simulator, customer } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, value));
  expect(simulator.sum("tokens", customer)).toBe(sum);
});

test.each([
  ["35 days back", START - 35 * DAY],
  ["5 minutes ahead", START + 300],
])("an event %s is accepted", async (_name, timestamp) => {
  const { stripe, simulator, customer } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, 7, "edge", timestamp));
  expect(simulator.sum("tokens")).toBe("7");
});

test("sums stay exact where doubles would not", async () => {
  const { stripe, simulator, customer } = await startMetering();
  for (let i = 0; i < 20; i += 1) await stripe.billing.meterEvents.create(event(customer, "999999999999999"));
  await stripe.billing.meterEvents.create(event(customer, "1"));
  expect(simulator.sum("tokens")).toBe("19999999999999981");
});

test("decimals are accepted when the setting says so, and sum exactly", async () => {
  const { stripe, simulator, customer } = await startMetering({ settings: { decimalValues: true } });
  await stripe.billing.meterEvents.create(event(customer, "0.1"));
  await stripe.billing.meterEvents.create(event(customer, "0.2"));
  expect(simulator.sum("tokens")).toBe("0.3");
});

describe("identifiers", () => {
  const duplicate = {
    class: "StripeInvalidRequestError",
    status: 400,
    code: undefined,
    message: "An event already exists with identifier one.",
    shouldRetry: "false",
  };

  test("a taken one is refused under a new Idempotency-Key, whatever the rest of the event", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await createMeter(stripe, "other");
    const ada = event(customer, 5, "one");
    const bob = (await stripe.customers.create({ name: "Bob" })).id;
    await stripe.billing.meterEvents.create(ada);
    expect(await refusal(stripe.billing.meterEvents.create(ada))).toEqual(duplicate);
    expect(await refusal(stripe.billing.meterEvents.create({ ...ada, event_name: "other" }))).toEqual(duplicate);
    expect(await refusal(stripe.billing.meterEvents.create(event(bob, 6, "one")))).toEqual(duplicate);
    expect(simulator.meterEvents()).toHaveLength(1);
  });

  test("a refused event does not take it", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await refusal(stripe.billing.meterEvents.create(event("cus_no", 5, "one")));
    await stripe.billing.meterEvents.create(event(customer, 5, "one"));
    expect(simulator.sum("tokens")).toBe("5");
  });

  test("after 24 hours it is counted again", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await stripe.billing.meterEvents.create(event(customer, 5, "one", START));
    await simulator.advanceClock(DAY_MS - 1);
    expect(await refusal(stripe.billing.meterEvents.create(event(customer, 5, "one", START)))).toEqual(duplicate);
    await simulator.advanceClock(1);
    await stripe.billing.meterEvents.create(event(customer, 5, "one", START));
    expect(simulator.sum("tokens")).toBe("10");
    expect(simulator.meterEvents({ identifier: "one" })).toMatchObject([{ times_accepted: 2 }, { times_accepted: 2 }]);
  });
});

describe("adjustments", () => {
  const cancel = (identifier: string) => ({ event_name: "tokens", type: "cancel" as const, cancel: { identifier } });

  test("cancel an event; its identifier stays taken", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await stripe.billing.meterEvents.create(event(customer, 5, "one"));
    await stripe.billing.meterEvents.create(event(customer, 2, "two"));
    expect(await stripe.billing.meterEventAdjustments.create(cancel("one"))).toMatchObject({
      object: "billing.meter_event_adjustment",
      cancel: { identifier: "one" },
      status: "pending",
    });
    expect(simulator.sum("tokens")).toBe("2");
    expect((await refusal(stripe.billing.meterEvents.create(event(customer, 5, "one")))).message).toBe(
      "An event already exists with identifier one.",
    );
  });

  test("are refused for unknown, already cancelled and old events", async () => {
    const { stripe, simulator, customer } = await startMetering();
    await stripe.billing.meterEvents.create(event(customer, 5, "one"));
    await stripe.billing.meterEvents.create(event(customer, 5, "old"));
    await stripe.billing.meterEventAdjustments.create(cancel("one"));
    expect(await refusal(stripe.billing.meterEventAdjustments.create(cancel("none")))).toMatchObject({ status: 400 });
    expect(await refusal(stripe.billing.meterEventAdjustments.create(cancel("one")))).toMatchObject({ status: 400 });
    await simulator.advanceClock(DAY_MS);
    expect(await refusal(stripe.billing.meterEventAdjustments.create(cancel("old")))).toMatchObject({ status: 400 });
    expect(simulator.sum("tokens")).toBe("5");
  });
});

test("form bodies are understood however they are encoded", async () => {
  const { simulator, customer } = await startMetering();
  const bodies = [
    `event_name=tokens&payload[stripe_customer_id]=${customer}&payload[value]=1&identifier=a%20b`,
    `event_name=tokens&payload%5Bstripe_customer_id%5D=${customer}&payload%5Bvalue%5D=1&identifier=c+d`,
  ];
  for (const body of bodies) {
    expect((await raw(simulator, "POST", "/v1/billing/meter_events", body)).status).toBe(200);
  }
  expect(simulator.meterEvents().map(({ identifier }) => identifier)).toEqual(["a b", "c d"]);
});
