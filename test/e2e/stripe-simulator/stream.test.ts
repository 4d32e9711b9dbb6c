// The meter event stream: sessions, what it takes without a look, and what becomes of it ten seconds later.
import { describe, expect, test } from "vitest";
import type { Fault } from "../../../src/stripe-simulator/control/faults.ts";
import {
  event,
  openStream,
  raw,
  refusal,
  START,
  START_MS,
  sdk,
  startMetering,
  VALIDATED_MS,
  v2Event,
} from "./harness.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const ROUTE = "POST /v2/billing/meter_event_stream";

test("a session's token is good for the stream, for 15 minutes of the simulator's time", async () => {
  const world = await startMetering();
  const { simulator, customer } = world;
  const { session, send } = await openStream(world);
  expect(session).toMatchObject({
    id: expect.any(String),
    object: "v2.billing.meter_event_session",
    created: new Date(START_MS).toISOString(),
    expires_at: new Date(START_MS + 15 * MINUTE_MS).toISOString(),
    livemode: false,
  });
  await simulator.advanceClock(15 * MINUTE_MS - 1);
  await send(v2Event(customer, 1));
  await simulator.advanceClock(1);
  expect(await refusal(send(v2Event(customer, 1)))).toMatchObject({
    class: "TemporarySessionExpiredError",
    status: 401,
    code: "billing_meter_event_session_expired",
  });
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.sum("tokens")).toBe("1");
});

test("a secret key is no good for the stream, nor the token for any other route", async () => {
  const { simulator, stripe, customer } = await startMetering();
  const { streaming } = await openStream({ simulator, stripe });
  const events = [v2Event(customer, 1)];
  const refused = { class: "StripeAuthenticationError", status: 401 };
  expect(await refusal(stripe.v2.billing.meterEventStream.create({ events }))).toMatchObject(refused);
  const made = sdk(simulator, "made_up");
  expect(await refusal(made.v2.billing.meterEventStream.create({ events }))).toMatchObject(refused);
  expect(await refusal(streaming.v2.billing.meterEvents.create(v2Event(customer, 1)))).toMatchObject(refused);
  expect(await refusal(streaming.v2.billing.meterEventSession.create())).toMatchObject(refused);
  expect(await refusal(streaming.customers.list())).toMatchObject(refused);
  expect(simulator.state().asynchronous.taken).toBe(0);
});

test("events count at the end of their ten seconds, as received when they were", async () => {
  const world = await startMetering();
  const { simulator, customer } = world;
  const { send } = await openStream(world);
  await simulator.advanceClock(3_000);
  await send(v2Event(customer, 5, "one", START - 60), v2Event(customer, 7, "two"));
  await simulator.advanceClock(6_999);
  expect(simulator.sum("tokens")).toBe("0");
  expect(simulator.state().asynchronous).toMatchObject({ taken: 2, waiting: 2 });
  await simulator.advanceClock(1);
  expect(simulator.state().asynchronous).toMatchObject({ counted: 2, waiting: 0 });
  expect(simulator.meterEvents()).toMatchObject([
    { identifier: "one", value: "5", inlet: "stream", timestamp: START - 60, received_ms: START_MS + 3_000 },
    { identifier: "two", value: "7", inlet: "stream", timestamp: START + 3, received_ms: START_MS + 3_000 },
  ]);
  expect(simulator.state().counts["thin_events"]).toBe(0);
});

test("duplicates vanish without a word, in a request, over requests and over v1 and v2, for as long as identifiers hold", async () => {
  const world = await startMetering();
  const { simulator, stripe, customer } = world;
  await stripe.billing.meterEvents.create(event(customer, 1, "v1"));
  await stripe.v2.billing.meterEvents.create(v2Event(customer, 10, "v2"));
  const { send } = await openStream(world);
  await send(v2Event(customer, 100, "s"), v2Event(customer, 100, "s"), v2Event(customer, 1, "v1"));
  await simulator.advanceClock(VALIDATED_MS);
  await send(v2Event(customer, 100, "s"), v2Event(customer, 10, "v2"));
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.sum("tokens")).toBe("111");
  expect(await refusal(stripe.billing.meterEvents.create(event(customer, 100, "s")))).toMatchObject({ status: 400 });
  expect(simulator.state().asynchronous).toMatchObject({ taken: 5, counted: 1, duplicate: 4, rejected: 0 });
  expect(simulator.state().counts["thin_events"]).toBe(0);
});

test.each([
  [DAY_MS - 1, "5"],
  [DAY_MS, "10"],
])("a resend %d ms after the first receipt: %s in all", async (afterMs, sum) => {
  const world = await startMetering();
  const { simulator, customer } = world;
  await (await openStream(world)).send(v2Event(customer, 5, "one"));
  await simulator.advanceClock(afterMs);
  await (await openStream(world)).send(v2Event(customer, 5, "one"));
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.sum("tokens")).toBe(sum);
});

describe("the shape is all that is checked at once", () => {
  test.each([
    ["101 events", (customer: string) => ({ events: Array.from({ length: 101 }, () => v2Event(customer, 1)) })],
    ["no event", () => ({ events: [] })],
    ["a number in a payload", () => ({ events: [{ event_name: "tokens", payload: { value: 1 } }] })],
    ["a time in seconds", () => ({ events: [{ event_name: "tokens", payload: {}, timestamp: START }] })],
  ])("%s", async (_name, body) => {
    const world = await startMetering();
    const { session } = await openStream(world);
    const headers = { authorization: `Bearer ${session.authentication_token}`, "content-type": "application/json" };
    const path = "/v2/billing/meter_event_stream";
    expect(await raw(world.simulator, "POST", path, JSON.stringify(body(world.customer)), headers)).toMatchObject({
      status: 400,
      body: { error: { code: "invalid_fields" } },
    });
    expect(world.simulator.state().asynchronous.taken).toBe(0);
  });
});

describe("faults", () => {
  test("a session that expires before its time", async () => {
    const world = await startMetering();
    const { send } = await openStream(world);
    world.simulator.addFault({ route: ROUTE, kind: "session_expired", next: 1 });
    expect(await refusal(send(v2Event(world.customer, 5)))).toMatchObject({ class: "TemporarySessionExpiredError" });
    await send(v2Event(world.customer, 7));
    await world.simulator.advanceClock(VALIDATED_MS);
    expect(world.simulator.sum("tokens")).toBe("7");
  });

  test.each<[string, Omit<Fault, "route">, object, string]>([
    ["429", { kind: "rate_limited", next: 1, reason: "endpoint-rate" }, { class: "RateLimitError", status: 429 }, "0"],
    ["500", { kind: "server_error", next: 1 }, { class: "StripeAPIError", status: 500 }, "0"],
    ["reset before", { kind: "reset_before", next: 2 }, { class: "StripeConnectionError" }, "0"],
    ["reset after", { kind: "reset_after", next: 2 }, { class: "StripeConnectionError" }, "5"],
    ["a truncated answer", { kind: "truncated", next: 1 }, { class: "StripeConnectionError" }, "5"],
    ["a late 500", { kind: "server_error", next: 1, processed: true }, { status: 500 }, "5"],
  ])("%s strikes the stream as any other route", async (_name, fault, seen, sum) => {
    const world = await startMetering();
    const { send } = await openStream(world);
    world.simulator.addFault({ route: "*", ...fault } as Fault);
    expect(await refusal(send(v2Event(world.customer, 5, "one")))).toMatchObject(seen);
    await world.simulator.advanceClock(VALIDATED_MS);
    expect(world.simulator.sum("tokens")).toBe(sum);
  });

  test("dropped: taken, never counted nor reported; a resend counts, unless its identifier is burnt", async () => {
    for (const burnt of [false, true]) {
      const world = await startMetering();
      const { simulator, customer } = world;
      const { send } = await openStream(world);
      simulator.addFault({ route: ROUTE, kind: "dropped", next: 1, events: 2, burnt });
      await send(v2Event(customer, 1, "a"), v2Event(customer, 10, "b"), v2Event(customer, 100, "c"));
      await simulator.advanceClock(VALIDATED_MS);
      expect(simulator.sum("tokens")).toBe("100");
      await send(v2Event(customer, 1, "a"));
      await simulator.advanceClock(VALIDATED_MS);
      expect(simulator.sum("tokens")).toBe(burnt ? "100" : "101");
      expect(simulator.state().asynchronous).toMatchObject({ dropped: 2, rejected: 0 });
    }
  });

  test("a request under a used Idempotency-Key is answered and not taken again, even if its events were dropped", async () => {
    const world = await startMetering();
    const { streaming } = await openStream(world);
    const send = (idempotencyKey: string) =>
      streaming.v2.billing.meterEventStream.create({ events: [v2Event(world.customer, 5, "one")] }, { idempotencyKey });
    world.simulator.addFault({ route: ROUTE, kind: "dropped", next: 1 });
    await send("k");
    await send("k");
    await world.simulator.advanceClock(VALIDATED_MS);
    expect(world.simulator.sum("tokens")).toBe("0");
    await send("another");
    await world.simulator.advanceClock(VALIDATED_MS);
    expect(world.simulator.sum("tokens")).toBe("5");
  });

  test("dropped strikes single events, too: answered with 200, and not counted", async () => {
    const { simulator, stripe, customer } = await startMetering();
    simulator.addFault({ route: "*", kind: "dropped", next: 2 });
    await stripe.billing.meterEvents.create(event(customer, 1, "a"));
    await stripe.v2.billing.meterEvents.create(v2Event(customer, 10, "b"));
    expect(simulator.sum("tokens")).toBe("0");
    await stripe.billing.meterEvents.create(event(customer, 1, "a"));
    expect(simulator.sum("tokens")).toBe("1");
  });
});

test("10,000 events, a hundred a request, are all counted", async () => {
  const world = await startMetering();
  const { simulator, customer } = world;
  const { send } = await openStream(world);
  const batch = (request: number) =>
    Array.from({ length: 100 }, (_, index) => v2Event(customer, 1, `id-${request}-${index}`, START));
  for (let request = 0; request < 100; request += 1) await send(...batch(request));
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.sum("tokens")).toBe("10000");
});
