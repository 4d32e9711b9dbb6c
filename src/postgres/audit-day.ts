// One customer's day: what is there, against what the raw records add up to.
import {
  type AuditedWindow,
  compareOutbox,
  compareRollup,
  compareSeries,
  compareTotals,
  type Difference,
  daysOf,
  type ExpectedDay,
  type RollupLine,
} from "../domain/audit.ts";
import type { Series } from "../domain/rollup.ts";
import { DAY_MS } from "../domain/window.ts";
import type { AppliedCatalogs } from "./catalogs.ts";
import { readBoundaries } from "./ledger-write.ts";
import { dayOf, listWholeDays } from "./partitions.ts";
import type { Queryable } from "./pool.ts";
import { readPendingKey, sumRawRecords } from "./raw-sums.ts";
import { sqlFile } from "./sql-file.ts";

const QUARTER_HOURS = { name: "audit-quarter-hours", text: sqlFile("audit-quarter-hours") };
const DAY_ROLLUPS = { name: "audit-day-rollups", text: sqlFile("audit-day-rollups") };
const SERIES = { name: "audit-series", text: sqlFile("audit-series") };
const WINDOWS = { name: "audit-windows", text: sqlFile("audit-windows") };
const KEEP_PARTITIONS = "LOCK TABLE usage_record IN ACCESS SHARE MODE";

/**
 * Until the transaction ends no partition of raw records can be dropped. The first statement of one that works on a snapshot: else a day could
 * be dropped between the look at which there are and the look into it, and all its sums would seem wrong.
 */
export async function keepPartitions(client: Queryable): Promise<void> {
  await client.query(KEEP_PARTITIONS);
}

/** One look at a day. */
export interface AuditedDay {
  readonly boundaries: readonly number[];
  /** Undefined: the day's raw records are not kept, or not all of them. */
  readonly expected: ExpectedDay | undefined;
  readonly windows: readonly AuditedWindow[];
  readonly differences: readonly Difference[];
}

/**
 * In a transaction that nothing of the day changes in: a snapshot, or behind the customer's shard. Some eight round trips; memory grows with the
 * series and windows of the day, not with its records.
 */
export async function auditDay(
  client: Queryable,
  catalogs: AppliedCatalogs,
  customerId: string,
  dayMs: number,
): Promise<AuditedDay> {
  const isKept = (await listWholeDays(client)).includes(dayOf(dayMs));
  const boundaries = (await readBoundaries(client, [customerId])).get(customerId) ?? [];
  const expected = isKept ? await expectDay(client, catalogs, customerId, dayMs, boundaries) : undefined;
  return compareDay(client, customerId, dayMs, boundaries, expected);
}

/** Compares what is there now with what was expected. */
export async function compareDay(
  client: Queryable,
  customerId: string,
  dayMs: number,
  boundaries: readonly number[],
  expected: ExpectedDay | undefined,
): Promise<AuditedDay> {
  const windows = await readWindows(client, customerId, dayMs);
  const outbox = compareOutbox(windows);
  if (expected === undefined) return { boundaries, expected, windows, differences: outbox };
  const { series, quarterHours, pending, uncertainMinutes } = expected;
  const days = daysOf(quarterHours, boundaries);
  const found = {
    quarterHours: await readRollup(client, QUARTER_HOURS, customerId, dayMs),
    days: await readRollup(client, DAY_ROLLUPS, customerId, dayMs),
  };
  // Where sums are missing, their differences say so.
  const used = new Set([...found.quarterHours, ...found.days].map(({ seriesId }) => seriesId));
  const usedSeries = series.filter(({ seriesId }) => used.has(seriesId));
  const differences = [
    ...compareSeries(dayMs, usedSeries, await readSeries(client, customerId, usedSeries)),
    ...compareRollup("rollup_quarter_hour", quarterHours, found.quarterHours, uncertainMinutes, boundaries),
    ...compareRollup("rollup_day", days, found.days, uncertainMinutes, boundaries),
    ...compareTotals(pending, windows, uncertainMinutes, boundaries),
    ...outbox,
  ];
  return { boundaries, expected, windows, differences };
}

/** The same differences; those of rollups say what their series is of, as far as that is known. */
export async function nameSeries(
  client: Queryable,
  customerId: string,
  differences: readonly Difference[],
): Promise<Difference[]> {
  const isOfSeries = ({ table, of }: Difference) => table.startsWith("rollup_") && of !== "";
  const ids = [...new Set(differences.filter(isOfSeries).map(({ of }) => of))];
  const known = await readSeries(
    client,
    customerId,
    ids.map((seriesId) => ({ seriesId })),
  );
  const names = new Map(
    known.map(({ seriesId, apiKeyId, model, meter, labels }) => {
      const parts = [meter, model, apiKeyId, ...labels.map(([key, value]) => `${key}=${value}`)];
      return [seriesId, parts.filter((part) => part !== "").join(" ")];
    }),
  );
  return differences.map((one) => (isOfSeries(one) ? { ...one, of: names.get(one.of) ?? `series ${one.of}` } : one));
}

async function expectDay(
  client: Queryable,
  catalogs: AppliedCatalogs,
  customerId: string,
  dayMs: number,
  boundaries: readonly number[],
): Promise<ExpectedDay> {
  const interval = { startMs: dayMs, endMs: dayMs + DAY_MS };
  const sums = await sumRawRecords(client, catalogs, customerId, interval, boundaries);
  const { quarterHours, uncertainMinutes } = sums;
  const pending = [...sums.pending].map(([key, total]) => ({ ...readPendingKey(key), total }));
  const series = sums.series.map((line) => ({ ...line, labels: Object.entries(line.labels) }));
  return { series, quarterHours, pending, uncertainMinutes };
}

async function readSeries(
  client: Queryable,
  customerId: string,
  wanted: readonly Pick<Series, "seriesId">[],
): Promise<Omit<Series, "customerId">[]> {
  if (wanted.length === 0) return [];
  const result = await client.query<{
    series_id: string;
    api_key_id: string;
    model: string;
    meter: string;
    labels: Readonly<Record<string, string>>;
  }>({ ...SERIES, values: [customerId, wanted.map(({ seriesId }) => seriesId)] });
  return result.rows.map(({ series_id: seriesId, api_key_id: apiKeyId, model, meter, labels }) => {
    return { seriesId, apiKeyId, model, meter, labels: Object.entries(labels) };
  });
}

async function readRollup(
  client: Queryable,
  statement: { readonly name: string; readonly text: string },
  customerId: string,
  dayMs: number,
): Promise<RollupLine[]> {
  const values = [customerId, new Date(dayMs), new Date(dayMs + DAY_MS)];
  const result = await client.query<{ window_start: Date; series_id: string; quantity: string; record_count: string }>({
    ...statement,
    values,
  });
  return result.rows.map((row) => {
    return {
      windowStartMs: row.window_start.getTime(),
      seriesId: row.series_id,
      quantity: BigInt(row.quantity),
      recordCount: BigInt(row.record_count),
    };
  });
}

interface AuditedWindowRow {
  readonly window_start: Date;
  readonly event_name: string;
  readonly payload: string;
  /** Null, and the four after it too: the window is lost. */
  readonly window_end: Date | null;
  readonly total: string;
  readonly reported: string;
  readonly accepted: string;
  readonly next_sequence: number;
  readonly outbox_reported: string;
  readonly outbox_accepted: string;
  readonly outbox_reports: number;
  readonly outbox_next_sequence: number;
}

async function readWindows(client: Queryable, customerId: string, dayMs: number): Promise<AuditedWindow[]> {
  const values = [customerId, new Date(dayMs), new Date(dayMs + DAY_MS)];
  const result = await client.query<AuditedWindowRow>({ ...WINDOWS, values });
  return result.rows.map((row) => {
    return {
      windowStartMs: row.window_start.getTime(),
      eventName: row.event_name,
      payload: row.payload,
      row:
        row.window_end === null
          ? undefined
          : {
              windowEndMs: row.window_end.getTime(),
              total: BigInt(row.total),
              reported: BigInt(row.reported),
              accepted: BigInt(row.accepted),
              nextSequence: row.next_sequence,
            },
      outbox: {
        reported: BigInt(row.outbox_reported),
        accepted: BigInt(row.outbox_accepted),
        reports: row.outbox_reports,
        nextSequence: row.outbox_next_sequence,
      },
    };
  });
}
