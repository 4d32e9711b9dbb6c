// What a batch of records adds to the ledger's sums. Pure: the same batch always adds the same.
import { hash } from "node:crypto";
import { billableQuantities, type MeterCatalog, REQUESTS_METER } from "./meter.ts";
import { compareText, type UsageRecord } from "./usage-record.ts";
import { DAY_MS, MINUTE_MS, QUARTER_HOUR_MS, windowAt } from "./window.ts";

/** One line of sums: a customer's quantities of one meter under one API key, model and set of kept labels. */
export interface Series {
  /** 32 hex digits, of the fields below: whoever meets a series first gives it the same id. */
  readonly seriesId: string;
  readonly customerId: string;
  readonly apiKeyId: string;
  readonly model: string;
  readonly meter: string;
  /** Kept label keys only, sorted. */
  readonly labels: readonly (readonly [string, string])[];
}

/** To be added to the sum of a series in the window that starts at windowStartMs. */
export interface RollupDelta {
  readonly customerId: string;
  readonly seriesId: string;
  readonly windowStartMs: number;
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/** To be added to what waits for Stripe in a minute's window. */
export interface PendingDelta {
  readonly customerId: string;
  readonly eventName: string;
  readonly payload: string;
  readonly windowStartMs: number;
  readonly windowEndMs: number;
  readonly quantity: bigint;
}

/** How active a customer was in a batch. For people, never billed. */
export interface CustomerActivity {
  readonly customerId: string;
  readonly records: bigint;
  /** Over all token meters. */
  readonly tokens: bigint;
}

/** All that a batch adds. Each list is sorted by its key, so that writers take row locks in one order. */
export interface BatchSums {
  readonly series: readonly Series[];
  readonly quarterHours: readonly RollupDelta[];
  readonly days: readonly RollupDelta[];
  readonly pending: readonly PendingDelta[];
  readonly activity: readonly CustomerActivity[];
}

/** A customer's billing-period boundaries, ascending; empty where none is known. */
export type BoundariesOf = (customerId: string) => readonly number[];

/** Sums a batch of distinct records. Cost: linear in measurements. */
export function sumBatch(
  records: readonly UsageRecord[],
  catalog: MeterCatalog,
  boundariesOf: BoundariesOf,
): BatchSums {
  const series = new Map<string, Series>();
  const quarterHours = new Map<string, Writable<RollupDelta>>();
  const days = new Map<string, Writable<RollupDelta>>();
  const pending = new Map<string, Writable<PendingDelta>>();
  const activity = new Map<string, Writable<CustomerActivity>>();
  for (const record of records) {
    addActivity(activity, record, catalog);
    const boundaries = boundariesOf(record.customerId);
    const quarterHourMs = windowAt(record.eventTimeMs, QUARTER_HOUR_MS, boundaries).startMs;
    const dayMs = windowAt(record.eventTimeMs, DAY_MS, boundaries).startMs;
    const measured = [...record.measurements, { meter: REQUESTS_METER, quantity: 1n }];
    for (const { meter, quantity } of measured) {
      const seriesId = seriesIn(series, record, meter, catalog.rollupLabels);
      addRollup(quarterHours, record.customerId, seriesId, quarterHourMs, quantity);
      addRollup(days, record.customerId, seriesId, dayMs, quantity);
    }
    const minute = windowAt(record.eventTimeMs, MINUTE_MS, boundaries);
    for (const { eventName, payload, quantity } of billableQuantities(record, catalog)) {
      const key = JSON.stringify([record.customerId, eventName, payload, minute.startMs]);
      const sum = pending.get(key);
      if (sum) sum.quantity += quantity;
      else {
        const { customerId } = record;
        pending.set(key, {
          customerId,
          eventName,
          payload,
          windowStartMs: minute.startMs,
          windowEndMs: minute.endMs,
          quantity,
        });
      }
    }
  }
  return {
    series: [...series.values()].sort((a, b) => compareText(a.seriesId, b.seriesId)),
    quarterHours: sortRollups(quarterHours),
    days: sortRollups(days),
    pending: [...pending.values()].sort(
      (a, b) =>
        compareText(a.customerId, b.customerId) ||
        a.windowStartMs - b.windowStartMs ||
        compareText(a.eventName, b.eventName) ||
        compareText(a.payload, b.payload),
    ),
    activity: [...activity.values()].sort((a, b) => compareText(a.customerId, b.customerId)),
  };
}

/** The same sums with their sign turned: added, they take away what the others added. Who was active, was. */
export function negated({ series, quarterHours, days, pending }: Omit<BatchSums, "activity">): BatchSums {
  const turn = ({ quantity, recordCount, ...rest }: RollupDelta): RollupDelta => {
    return { ...rest, quantity: -quantity, recordCount: -recordCount };
  };
  return {
    series,
    quarterHours: quarterHours.map(turn),
    days: days.map(turn),
    pending: pending.map(({ quantity, ...rest }) => ({ ...rest, quantity: -quantity })),
    activity: [],
  };
}

function addActivity(
  known: Map<string, Writable<CustomerActivity>>,
  { customerId, measurements }: UsageRecord,
  catalog: MeterCatalog,
): void {
  const tokens = measurements
    .filter(({ meter }) => catalog.meters.get(meter)?.unit === "token")
    .reduce((sum, { quantity }) => sum + quantity, 0n);
  const sum = known.get(customerId);
  if (sum === undefined) known.set(customerId, { customerId, records: 1n, tokens });
  else {
    sum.records += 1n;
    sum.tokens += tokens;
  }
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function seriesIn(
  known: Map<string, Series>,
  record: UsageRecord,
  meter: string,
  rollupLabels: readonly string[],
): string {
  const labels = record.labels.filter(([key]) => rollupLabels.includes(key));
  const identity = JSON.stringify([record.customerId, record.apiKeyId, record.model, meter, labels]);
  const found = known.get(identity);
  if (found) return found.seriesId;
  const seriesId = hash("sha256", identity, "hex").slice(0, 32);
  const { customerId, apiKeyId, model } = record;
  known.set(identity, { seriesId, customerId, apiKeyId, model, meter, labels });
  return seriesId;
}

function addRollup(
  sums: Map<string, Writable<RollupDelta>>,
  customerId: string,
  seriesId: string,
  windowStartMs: number,
  quantity: bigint,
): void {
  const key = seriesId + windowStartMs;
  const sum = sums.get(key);
  if (sum) {
    sum.quantity += quantity;
    sum.recordCount += 1n;
  } else sums.set(key, { customerId, seriesId, windowStartMs, quantity, recordCount: 1n });
}

function sortRollups(sums: Map<string, RollupDelta>): RollupDelta[] {
  return [...sums.values()].sort(
    (a, b) =>
      compareText(a.customerId, b.customerId) ||
      a.windowStartMs - b.windowStartMs ||
      compareText(a.seriesId, b.seriesId),
  );
}
