// What asynchronous validation throws away, and the thin events that report it.
import type Stripe from "stripe";
import { describe, expect, test } from "vitest";
import { ERROR_CODES } from "../../../src/stripe-simulator/usage/error-codes.ts";
import {
  createMeter,
  openStream,
  refusal,
  START,
  START_MS,
  seconds,
  startMetering,
  startWorld,
  VALIDATED_MS,
  v2Event,
} from "./harness.ts";

const DAY = 86_400;
const at = (ms: number) => new Date(ms).toISOString();

/** All thin events, newest first. */
async function thinEvents(stripe: Stripe): Promise<Stripe.V2.Core.Event[]> {
  return (await stripe.v2.core.events.list({ limit: 100 })).data;
}

test("bad events are reported two seconds after their window: per meter, per code, with samples", async () => {
  const world = await startMetering();
  const { simulator, stripe, customer, meter } = world;
  const { send } = await openStream(world);
  await simulator.advanceClock(3_000);
  const { stripe_customer_id: _none, ...anonymous } = v2Event(customer, 1).payload;
  await send(
    v2Event(customer, 5, "good"),
    { event_name: "tokens", payload: anonymous, identifier: "anonymous" },
    v2Event(customer, "1.5", "half"),
    v2Event("cus_no", 1, "stranger"),
    v2Event("cus_no", 1, "stranger 2"),
  );
  await simulator.advanceClock(8_999);
  expect(await thinEvents(stripe)).toEqual([]);
  await simulator.advanceClock(1);
  const [reported, ...others] = await thinEvents(stripe);
  expect(others).toEqual([]);
  const event = await stripe.v2.core.events.retrieve(reported?.id ?? "");
  if (event.type !== "v1.billing.meter.error_report_triggered") throw new Error(event.type);
  expect(event).toMatchObject({
    id: expect.stringMatching(/^evt_test_/),
    object: "v2.core.event",
    created: at(START_MS + VALIDATED_MS),
    livemode: false,
    related_object: { id: meter, type: "billing.meter", url: `/v1/billing/meters/${meter}` },
  });
  expect(event.data).toEqual({
    developer_message_summary: "There are 4 invalid events",
    reason: {
      error_count: 4,
      error_types: [
        {
          code: "meter_event_no_customer_defined",
          error_count: 1,
          sample_errors: [
            {
              error_message: "Customer mapping key stripe_customer_id not found in payload.",
              request: { identifier: "anonymous" },
            },
          ],
        },
        {
          code: "meter_event_invalid_value",
          error_count: 1,
          sample_errors: [{ error_message: expect.stringContaining("1.5"), request: { identifier: "half" } }],
        },
        {
          code: "meter_event_customer_not_found",
          error_count: 2,
          sample_errors: ["stranger", "stranger 2"].map((identifier) => ({
            error_message: "No such customer: 'cus_no'",
            request: { identifier },
          })),
        },
      ],
    },
    validation_start: at(START_MS),
    validation_end: at(START_MS + 10_000),
  });
  expect((await event.fetchRelatedObject()).id).toBe(meter);
  expect(simulator.sum("tokens")).toBe("5");
});

test("names without a meter are reported apart, about no object", async () => {
  const world = await startMetering();
  const { simulator, stripe, customer } = world;
  const { send } = await openStream(world);
  await send({ ...v2Event(customer, 1, "lost"), event_name: "nothing" });
  await simulator.advanceClock(VALIDATED_MS);
  const [event] = await thinEvents(stripe);
  expect(event).toMatchObject({
    type: "v1.billing.meter.no_meter_found",
    data: {
      developer_message_summary: "There is 1 invalid event",
      reason: {
        error_types: [
          {
            code: "no_meter",
            sample_errors: [{ error_message: "No meter was found matching event_name nothing." }],
          },
        ],
      },
    },
  });
  expect(event).not.toHaveProperty("related_object");
});

describe("codes", () => {
  const cases: readonly [string, string, (sent: ReturnType<typeof v2Event>) => ReturnType<typeof v2Event>][] = [
    ["too many digits", "meter_event_value_too_many_digits", (sent) => valued(sent, "1234567890123456")],
    ["no value", "meter_event_invalid_value", (sent) => valued(sent, "")],
    ["too old", "timestamp_too_far_in_past", (sent) => timed(sent, START - 35 * DAY - 1)],
    // Good when it was received, too old when it was looked at.
    ["too old by then", "timestamp_too_far_in_past", (sent) => timed(sent, START - 35 * DAY + 5)],
    ["too far ahead", "timestamp_in_future", (sent) => timed(sent, START + 301)],
  ];
  const valued = (sent: ReturnType<typeof v2Event>, value: string) => ({
    ...sent,
    payload: { ...sent.payload, value },
  });
  const timed = (sent: ReturnType<typeof v2Event>, timestamp: number) => ({
    ...sent,
    timestamp: at(timestamp * 1_000),
  });

  test.each(cases)("%s: %s", async (_name, code, change) => {
    const world = await startMetering();
    const { send } = await openStream(world);
    await send(change(v2Event(world.customer, 1, "one")));
    await world.simulator.advanceClock(VALIDATED_MS);
    expect(await codesOf(world.stripe)).toEqual([[code, 1, ["one"]]]);
    expect(world.simulator.meterEvents()).toEqual([]);
  });

  test("a meter archived, and a customer deleted, before the window closed", async () => {
    const world = await startMetering();
    const { stripe, simulator, meter } = world;
    const other = await createMeter(stripe, "other");
    const { send } = await openStream(world);
    await send(v2Event(world.customer, 1, "archived"), { ...v2Event(world.customer, 1, "gone"), event_name: "other" });
    await stripe.billing.meters.deactivate(meter);
    await stripe.customers.del(world.customer);
    await simulator.advanceClock(VALIDATED_MS);
    expect(await codesOf(stripe)).toEqual([
      ["meter_event_customer_not_found", 1, ["gone"]],
      ["archived_meter", 1, ["archived"]],
    ]);
    const reports = await thinEvents(stripe);
    const related = reports.map((event) =>
      event.type === "v1.billing.meter.error_report_triggered" ? event.related_object.id : undefined,
    );
    expect(related).toEqual([other, meter]);
    const about = await stripe.v2.core.events.list({ object_id: other });
    expect(about.data.map(({ id }) => id)).toEqual([reports[0]?.id]);
  });

  test.each(ERROR_CODES)("%s can be had for a good event by a fault", async (code) => {
    const world = await startMetering();
    const { send } = await openStream(world);
    world.simulator.addFault({ route: "*", kind: "rejected", next: 1, events: 1, code });
    await send(v2Event(world.customer, 1, "bad"), v2Event(world.customer, 10, "good"));
    await world.simulator.advanceClock(VALIDATED_MS);
    expect(await codesOf(world.stripe)).toEqual([[code, 1, ["bad"]]]);
    expect(world.simulator.sum("tokens")).toBe("10");
  });
});

/** Of every report: code, count and sampled identifiers, newest report first. */
async function codesOf(stripe: Stripe): Promise<unknown[]> {
  return (await thinEvents(stripe)).flatMap((event) => {
    if (!("data" in event)) return [];
    const { reason } = event.data as Stripe.V2.Core.Events.V1BillingMeterErrorReportTriggeredEvent["data"];
    return reason.error_types.map(({ code, error_count, sample_errors }) => [
      code,
      error_count,
      sample_errors.map(({ request }) => request.identifier),
    ]);
  });
}

test("samples are a sample, counts are exact", async () => {
  const world = await startMetering({ settings: { errorSamplesMax: 3 } });
  const { send } = await openStream(world);
  await send(...Array.from({ length: 100 }, (_, index) => v2Event("cus_no", 1, `id-${index}`)));
  await world.simulator.advanceClock(VALIDATED_MS);
  expect(await codesOf(world.stripe)).toEqual([["meter_event_customer_not_found", 100, ["id-0", "id-1", "id-2"]]]);
});

test.each([
  [true, "0", 400],
  [false, "5", 200],
])("a refused event's identifier stays taken: %s", async (rejectedIdentifierKept, sum, status) => {
  const world = await startMetering({ settings: { rejectedIdentifierKept } });
  const { simulator, customer, stripe } = world;
  const { send } = await openStream(world);
  await send(v2Event("cus_no", 5, "one"), v2Event("cus_no", 5, "two"));
  await simulator.advanceClock(VALIDATED_MS);
  await send(v2Event(customer, 5, "one"));
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.sum("tokens")).toBe(sum);
  const again = stripe.v2.billing.meterEvents.create(v2Event(customer, 5, "two"));
  if (status === 400) expect((await refusal(again)).code).toBe("duplicate_meter_event");
  else await again;
});

test("an event of v2 that passed its checks can be reported later, too", async () => {
  const { stripe, simulator } = await startMetering();
  await stripe.v2.billing.meterEvents.create(v2Event("cus_no", 5, "one"));
  await simulator.advanceClock(VALIDATED_MS);
  expect(await codesOf(stripe)).toEqual([["meter_event_customer_not_found", 1, ["one"]]]);
});

test("validation and its report can be late", async () => {
  const world = await startMetering({ settings: { validationDelayMs: 60_000, errorReportDelayMs: 3_600_000 } });
  const { simulator, stripe, customer } = world;
  const { send } = await openStream(world);
  await send(v2Event(customer, 5, "one"), v2Event("cus_no", 5, "two"));
  await simulator.advanceClock(69_999);
  expect(simulator.sum("tokens")).toBe("0");
  await simulator.advanceClock(1);
  expect(simulator.meterEvents()).toMatchObject([{ value: "5", received_ms: START_MS }]);
  await simulator.advanceClock(3_599_999);
  expect(await thinEvents(stripe)).toEqual([]);
  await simulator.advanceClock(1);
  expect(await thinEvents(stripe)).toMatchObject([
    { data: { validation_start: at(START_MS + 60_000), validation_end: at(START_MS + 70_000) } },
  ]);
});

describe("the list of thin events", () => {
  async function startReported(count: number) {
    const world = await startMetering();
    const { simulator, customer } = world;
    for (let index = 0; index < count; index += 1) {
      const { send } = await openStream(world);
      await send({ ...v2Event(customer, 1), event_name: `nothing ${index}` });
      await simulator.advanceClock(3_600_000);
    }
    return world;
  }

  test("pages, and the SDK walks over all of it, filters kept", async () => {
    const { stripe } = await startReported(5);
    const all = await thinEvents(stripe);
    expect(all).toHaveLength(5);
    const walked: string[] = [];
    const types = ["v1.billing.meter.no_meter_found"];
    for await (const { id } of stripe.v2.core.events.list({ limit: 2, types })) walked.push(id);
    expect(walked).toEqual(all.map(({ id }) => id));
    expect((await stripe.v2.core.events.list({ types: ["v1.billing.meter.created"] })).data).toEqual([]);
    const [until = 0, , from = 0] = all.map((event) => seconds(event.created));
    const created = { gte: from, lt: until };
    const between = await stripe.v2.core.events.list({ created });
    expect(between.data.map(({ id }) => id)).toEqual([all[1]?.id, all[2]?.id]);
  });

  test("goes back 30 days", async () => {
    const { stripe, simulator } = await startReported(1);
    const [event] = await thinEvents(stripe);
    await simulator.setClock(Date.parse(event?.created ?? "") + 30 * DAY * 1_000 - 1);
    expect((await stripe.v2.core.events.retrieve(event?.id ?? "")).id).toBe(event?.id);
    await simulator.advanceClock(1);
    expect(await thinEvents(stripe)).toEqual([]);
    expect(await refusal(stripe.v2.core.events.retrieve(event?.id ?? ""))).toMatchObject({
      status: 404,
      code: "not_found",
    });
  });

  test("knows no snapshot events", async () => {
    const { stripe } = await startWorld();
    await stripe.customers.create({});
    const [snapshot] = (await stripe.events.list()).data;
    expect(await refusal(stripe.v2.core.events.retrieve(snapshot?.id ?? ""))).toMatchObject({ status: 404 });
  });
});
