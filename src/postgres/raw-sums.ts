// Sums raw records anew, by the same function that summed them when they were applied.
import type { MeterCatalog } from "../domain/meter.ts";
import { type RollupDelta, type Series, sumBatch } from "../domain/rollup.ts";
import { compareText, type UsageRecord } from "../domain/usage-record.ts";
import type { Interval } from "../domain/window.ts";
import { dayOf } from "./partitions.ts";
import type { Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const RECORDS = sqlFile("recut-records");

/** Records in memory at a time. */
const PAGE_SIZE = 2_000;

/** What the raw records of an interval add up to. */
export interface RawSums {
  /** Labels as the series table keeps them. */
  readonly series: readonly (Omit<Series, "labels"> & { readonly labels: Readonly<Record<string, string>> })[];
  readonly quarterHours: readonly RollupDelta[];
  /** By pendingKey. */
  readonly pending: ReadonlyMap<string, bigint>;
  /** Over all series. */
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/** Key of what waits for a Stripe meter in the window that starts at windowStartMs. */
export function pendingKey(windowStartMs: number, eventName: string, payload: string): string {
  return JSON.stringify([windowStartMs, eventName, payload]);
}

/**
 * Sums a customer's raw records of an interval that lies within one UTC day, in windows cut at `boundaries`. Reads page by page:
 * memory grows with series, not with records.
 */
export async function sumRawRecords(
  client: Queryable,
  catalog: MeterCatalog,
  customerId: string,
  interval: Interval,
  boundaries: readonly number[],
): Promise<RawSums> {
  const series = new Map<string, Series>();
  const quarterHours = new Map<string, RollupDelta>();
  const pending = new Map<string, bigint>();
  let quantity = 0n;
  let recordCount = 0n;
  for await (const records of readPages(client, customerId, interval)) {
    const sums = sumBatch(records, catalog, () => boundaries);
    for (const line of sums.series) series.set(line.seriesId, line);
    for (const delta of sums.quarterHours) {
      const key = `${delta.windowStartMs} ${delta.seriesId}`;
      const sum = quarterHours.get(key);
      quarterHours.set(key, sum === undefined ? delta : added(sum, delta));
      quantity += delta.quantity;
      recordCount += delta.recordCount;
    }
    for (const delta of sums.pending) {
      const key = pendingKey(delta.windowStartMs, delta.eventName, delta.payload);
      pending.set(key, (pending.get(key) ?? 0n) + delta.quantity);
    }
  }
  return {
    series: [...series.values()].map((line) => ({ ...line, labels: Object.fromEntries(line.labels) })),
    quarterHours: [...quarterHours.values()],
    pending,
    quantity,
    recordCount,
  };
}

function added(a: RollupDelta, b: RollupDelta): RollupDelta {
  return { ...a, quantity: a.quantity + b.quantity, recordCount: a.recordCount + b.recordCount };
}

interface RecordRow {
  readonly idempotency_key: string;
  readonly event_time: Date;
  readonly api_key_id: string;
  readonly model: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly meters: readonly string[];
  readonly quantities: readonly string[];
}

async function* readPages(
  client: Queryable,
  customerId: string,
  { startMs, endMs }: Interval,
): AsyncGenerator<readonly UsageRecord[]> {
  let after = "";
  for (;;) {
    const result = await client.query<RecordRow>(RECORDS, [
      customerId,
      dayOf(startMs),
      new Date(startMs),
      new Date(endMs),
      after,
      PAGE_SIZE,
    ]);
    if (result.rows.length > 0) yield result.rows.map((row) => toRecord(customerId, row));
    if (result.rows.length < PAGE_SIZE) return;
    after = result.rows.at(-1)?.idempotency_key ?? after;
  }
}

function toRecord(customerId: string, row: RecordRow): UsageRecord {
  return {
    customerId,
    idempotencyKey: row.idempotency_key,
    apiKeyId: row.api_key_id,
    eventTimeMs: row.event_time.getTime(),
    model: row.model,
    measurements: row.meters.map((meter, i) => ({ meter, quantity: BigInt(row.quantities[i] ?? 0) })),
    labels: Object.entries(row.labels).sort(([a], [b]) => compareText(a, b)),
    // Identity was settled when the record was applied; sums do not look at it.
    fingerprint: "",
  };
}
