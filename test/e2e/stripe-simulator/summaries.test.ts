// Event summaries: alignment, windows, order, pages, formulas, delay.
import type Stripe from "stripe";
import { expect, test } from "vitest";
import { createMeter, event, openStream, raw, refusal, START, startMetering, VALIDATED_MS } from "./harness.ts";

const HOUR = 3_600;
const DAY = 86_400;
const MIDNIGHT = START - 12 * HOUR;

type Window = readonly [start: number, end: number, value: number];

function windows(list: { readonly data: readonly Stripe.Billing.MeterEventSummary[] }): Window[] {
  return list.data.map(
    ({ start_time, end_time, aggregated_value }) => [start_time, end_time, aggregated_value] as const,
  );
}

test("windows come newest first, those without events are left out, and ends are half-open", async () => {
  const { stripe, customer, meter } = await startMetering();
  const at = (offset: number, value: number) =>
    stripe.billing.meterEvents.create(event(customer, value, undefined, START + offset));
  await at(-5 * HOUR, 1);
  await at(-5 * HOUR + 59 * 60 + 59, 2);
  await at(-4 * HOUR, 4);
  await at(-1, 8);
  await at(0, 16);
  const range = { customer, start_time: START - 5 * HOUR, end_time: START };
  expect(
    windows(await stripe.billing.meters.listEventSummaries(meter, { ...range, value_grouping_window: "hour" })),
  ).toEqual([
    [START - HOUR, START, 8],
    [START - 4 * HOUR, START - 3 * HOUR, 4],
    [START - 5 * HOUR, START - 4 * HOUR, 3],
  ]);
  expect(windows(await stripe.billing.meters.listEventSummaries(meter, range))).toEqual([
    [START - 5 * HOUR, START, 15],
  ]);
  expect(
    windows(
      await stripe.billing.meters.listEventSummaries(meter, {
        customer,
        start_time: MIDNIGHT - DAY,
        end_time: MIDNIGHT + DAY,
        value_grouping_window: "day",
      }),
    ),
  ).toEqual([[MIDNIGHT, MIDNIGHT + DAY, 31]]);
});

test("a range without events, or of another customer, has no summary", async () => {
  const { stripe, customer, meter } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, 1));
  const bob = (await stripe.customers.create({})).id;
  const range = { start_time: START - DAY, end_time: START };
  expect((await stripe.billing.meters.listEventSummaries(meter, { customer, ...range })).data).toEqual([]);
  const withEvent = { start_time: START, end_time: START + 60 };
  expect((await stripe.billing.meters.listEventSummaries(meter, { customer: bob, ...withEvent })).data).toEqual([]);
  expect((await stripe.billing.meters.listEventSummaries(meter, { customer, ...withEvent })).data).toHaveLength(1);
});

test.each([
  ["start_time", { start_time: START + 1, end_time: START + 60 }, "minute"],
  ["end_time", { start_time: START, end_time: START + 59 }, "minute"],
  ["start_time", { start_time: START + 60, end_time: START + HOUR, value_grouping_window: "hour" as const }, "hour"],
  ["end_time", { start_time: START, end_time: START + 60, value_grouping_window: "hour" as const }, "hour"],
  ["start_time", { start_time: START, end_time: MIDNIGHT + DAY, value_grouping_window: "day" as const }, "UTC day"],
])("%s out of line with its boundaries is refused: %j", async (param, range, boundary) => {
  const { stripe, customer, meter } = await startMetering();
  const refused = await refusal(stripe.billing.meters.listEventSummaries(meter, { customer, ...range }));
  expect(refused).toMatchObject({ class: "StripeInvalidRequestError", status: 400 });
  expect(refused.message).toContain(`The ${param} must align with ${boundary} boundaries.`);
});

test("an empty range, an unknown customer and an unknown meter are refused", async () => {
  const { stripe, customer, meter } = await startMetering();
  const range = { start_time: START, end_time: START + 60 };
  const list = (id: string, who: string, more = {}) =>
    refusal(stripe.billing.meters.listEventSummaries(id, { customer: who, ...range, ...more }));
  expect(await list(meter, customer, { end_time: START })).toMatchObject({ status: 400 });
  expect(await list(meter, "cus_no")).toMatchObject({ status: 400, message: "No such customer: 'cus_no'" });
  expect(await list("mtr_no", customer)).toMatchObject({ status: 404, code: "resource_missing" });
});

test("pages follow each other without gap or overlap, in both directions", async () => {
  const { stripe, customer, meter } = await startMetering();
  for (let hour = 1; hour <= 25; hour += 1) {
    await stripe.billing.meterEvents.create(event(customer, hour, undefined, START - hour * HOUR));
  }
  const range = { customer, start_time: START - 30 * HOUR, end_time: START, value_grouping_window: "hour" as const };
  const first = await stripe.billing.meters.listEventSummaries(meter, range);
  expect(first.data).toHaveLength(10);
  expect(first.has_more).toBe(true);
  const all: number[] = [];
  for await (const one of stripe.billing.meters.listEventSummaries(meter, { ...range, limit: 4 })) {
    all.push(one.aggregated_value);
  }
  expect(all).toEqual(Array.from({ length: 25 }, (_, index) => index + 1));
  const back = await stripe.billing.meters.listEventSummaries(meter, {
    ...range,
    limit: 3,
    ending_before: first.data[9]?.id ?? "",
  });
  expect(back.data.map((one) => one.aggregated_value)).toEqual([7, 8, 9]);
  for (const limit of [0, 101]) {
    expect(await refusal(stripe.billing.meters.listEventSummaries(meter, { ...range, limit }))).toMatchObject({
      status: 400,
    });
  }
});

test.each([
  ["count", 3],
  ["last", 9],
  ["sum", 14],
] as const)("formula %s", async (formula, expected) => {
  const { stripe, customer } = await startMetering();
  const meter = await createMeter(stripe, formula, { default_aggregation: { formula } });
  for (const [value, timestamp] of [
    [2, START - 50],
    [9, START - 10],
    [3, START - 30],
  ] as const) {
    await stripe.billing.meterEvents.create({ ...event(customer, value, undefined, timestamp), event_name: formula });
  }
  const range = { customer, start_time: START - 60, end_time: START };
  expect(windows(await stripe.billing.meters.listEventSummaries(meter, range))).toEqual([
    [START - 60, START, expected],
  ]);
});

test("with an event_time_window, only the event received last in each counts", async () => {
  const { stripe, customer } = await startMetering();
  const meter = await createMeter(stripe, "hourly", { event_time_window: "hour" });
  for (const [value, timestamp] of [
    [5, START - 10],
    [7, START - 1_000],
    [3, START + 5],
  ] as const) {
    await stripe.billing.meterEvents.create({ ...event(customer, value, undefined, timestamp), event_name: "hourly" });
  }
  const range = { customer, start_time: START - HOUR, end_time: START + HOUR };
  expect(
    windows(await stripe.billing.meters.listEventSummaries(meter, { ...range, value_grouping_window: "hour" })),
  ).toEqual([
    [START, START + HOUR, 3],
    [START - HOUR, START, 7],
  ]);
});

test("with an event_time_window, receipt decides, not the order of counting; a cancelled event has no second death", async () => {
  const world = await startMetering();
  const { stripe, simulator, customer } = world;
  await createMeter(stripe, "hourly", { event_time_window: "hour" });
  const hourly = (value: number, identifier: string) => {
    return { event_name: "hourly", identifier, payload: { stripe_customer_id: customer, value: String(value) } };
  };
  const { send } = await openStream(world);
  await send(hourly(5, "streamed"));
  await simulator.advanceClock(1_000);
  await stripe.billing.meterEvents.create(hourly(7, "at once"));
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.sum("hourly")).toBe("7");
  expect(simulator.meterEvents({ identifier: "streamed" })).toMatchObject([{ fate: "overwritten" }]);
  const cancel = { event_name: "hourly", type: "cancel" as const, cancel: { identifier: "at once" } };
  await stripe.billing.meterEventAdjustments.create(cancel);
  await stripe.billing.meterEvents.create(hourly(3, "after"));
  expect(simulator.sum("hourly")).toBe("3");
});

test("with a delay, events show only so long after their receipt; the ledger inside knows them at once", async () => {
  const { stripe, simulator, customer, meter } = await startMetering({ settings: { summaryDelayMs: 90_000 } });
  const range = { customer, start_time: START - 60, end_time: START };
  await stripe.billing.meterEvents.create(event(customer, 1, undefined, START - 10));
  await simulator.advanceClock(60_000);
  await stripe.billing.meterEvents.create(event(customer, 2, undefined, START - 10));
  expect((await stripe.billing.meters.listEventSummaries(meter, range)).data).toEqual([]);
  expect(simulator.sum("tokens")).toBe("3");
  await simulator.advanceClock(30_000);
  expect(windows(await stripe.billing.meters.listEventSummaries(meter, range))).toEqual([[START - 60, START, 1]]);
  await simulator.advanceClock(60_000);
  expect(windows(await stripe.billing.meters.listEventSummaries(meter, range))).toEqual([[START - 60, START, 3]]);
});

test("a window whose events were all cancelled is left out", async () => {
  const { stripe, simulator, customer, meter } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, 1, "one", START - 10));
  await stripe.billing.meterEventAdjustments.create({
    event_name: "tokens",
    type: "cancel",
    cancel: { identifier: "one" },
  });
  const path = `/v1/billing/meters/${meter}/event_summaries?customer=${customer}&start_time=${START - 60}&end_time=${START}`;
  expect((await raw(simulator, "GET", path)).body).toMatchObject({ object: "list", data: [], has_more: false });
});

test("with a range of delays, each event shows at a time of its own, and then for good", async () => {
  const drawn = async () => {
    const settings = { summaryDelayMs: 60_000, summaryDelayMaxMs: 600_000 };
    const { stripe, simulator, customer, meter } = await startMetering({ settings, seed: "delays" });
    // One bit an event, so that the sum says which of them show.
    for (let bit = 0; bit < 20; bit += 1) {
      await stripe.billing.meterEvents.create(event(customer, 2 ** bit, undefined, START - 10));
    }
    const range = { customer, start_time: START - 60, end_time: START };
    const shown: number[] = [];
    for (let minute = 0; minute <= 10; minute += 1) {
      const [summary] = (await stripe.billing.meters.listEventSummaries(meter, range)).data;
      shown.push(summary?.aggregated_value ?? 0);
      await simulator.advanceClock(60_000);
    }
    return shown;
  };
  const shown = await drawn();
  for (const [minute, sum] of shown.entries()) expect(sum & (shown[minute - 1] ?? 0)).toBe(shown[minute - 1] ?? 0);
  expect(shown[0]).toBe(0);
  expect(shown[10]).toBe(2 ** 20 - 1);
  expect(new Set(shown).size).toBeGreaterThan(5);
  // Not in the order of receipt: at some time a later event shows and an earlier one doesn't.
  expect(shown.some((sum) => (sum & (sum + 1)) !== 0)).toBe(true);
  expect(await drawn()).toEqual(shown);
});
