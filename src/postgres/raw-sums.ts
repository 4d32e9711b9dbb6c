// Sums raw records anew, by the same function and the same catalogs that summed them when they were applied.
import { type PendingDelta, type RollupDelta, type Series, sumBatch } from "../domain/rollup.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { type Interval, MINUTE_MS, windowAt } from "../domain/window.ts";
import type { AppliedCatalogs } from "./catalogs.ts";
import { dayOf } from "./partitions.ts";
import type { Queryable } from "./pool.ts";
import { type RawRecordRow, toRecord } from "./raw-records.ts";
import { sqlFile } from "./sql-file.ts";

const RECORDS = sqlFile("recut-records");

/** Records in memory at a time. */
const PAGE_SIZE = 2_000;

/** What the raw records of an interval add up to. */
export interface RawSums {
  /** Labels as the series table keeps them. */
  readonly series: readonly (Omit<Series, "labels"> & { readonly labels: Readonly<Record<string, string>> })[];
  readonly quarterHours: readonly RollupDelta[];
  /** By pendingKey, of records whose catalog is known: just what they added. */
  readonly pending: ReadonlyMap<string, bigint>;
  /** By pendingKey, of records from before catalogs were kept: what they would add today. */
  readonly pendingByToday: ReadonlyMap<string, bigint>;
  /** Starts of the minutes that these lie in. */
  readonly uncertainMinutes: ReadonlySet<number>;
  /** Over all series. */
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/** What no records add up to. */
export const NO_SUMS: RawSums = {
  series: [],
  quarterHours: [],
  pending: new Map(),
  pendingByToday: new Map(),
  uncertainMinutes: new Set(),
  quantity: 0n,
  recordCount: 0n,
};

/** Key of what waits for a Stripe meter in the window that starts at windowStartMs. */
export function pendingKey(windowStartMs: number, eventName: string, payload: string): string {
  return JSON.stringify([windowStartMs, eventName, payload]);
}

/** The inverse of pendingKey. */
export function readPendingKey(key: string): Pick<PendingDelta, "windowStartMs" | "eventName" | "payload"> {
  const [windowStartMs, eventName, payload] = JSON.parse(key);
  return { windowStartMs, eventName, payload };
}

/**
 * Sums a customer's raw records of an interval that lies within one UTC day, in windows cut at `boundaries`, each by the catalog under
 * which it was applied; voided ones are left out. Reads page by page: memory grows with series, not with records.
 */
export async function sumRawRecords(
  client: Queryable,
  catalogs: AppliedCatalogs,
  customerId: string,
  interval: Interval,
  boundaries: readonly number[],
): Promise<RawSums> {
  const series = new Map<string, Series>();
  const quarterHours = new Map<string, RollupDelta>();
  const pending = new Map<string, bigint>();
  const pendingByToday = new Map<string, bigint>();
  const uncertainMinutes = new Set<number>();
  let quantity = 0n;
  let recordCount = 0n;
  for await (const { catalogId, records } of readPages(client, catalogs, customerId, interval)) {
    const sums = sumBatch(records, catalogs.get(catalogId), () => boundaries);
    for (const line of sums.series) series.set(line.seriesId, line);
    for (const delta of sums.quarterHours) {
      const key = `${delta.windowStartMs} ${delta.seriesId}`;
      const sum = quarterHours.get(key);
      quarterHours.set(key, sum === undefined ? delta : added(sum, delta));
      quantity += delta.quantity;
      recordCount += delta.recordCount;
    }
    if (catalogId === null)
      for (const { eventTimeMs } of records) uncertainMinutes.add(windowAt(eventTimeMs, MINUTE_MS, boundaries).startMs);
    const waiting = catalogId === null ? pendingByToday : pending;
    for (const delta of sums.pending) {
      const key = pendingKey(delta.windowStartMs, delta.eventName, delta.payload);
      waiting.set(key, (waiting.get(key) ?? 0n) + delta.quantity);
    }
  }
  return {
    series: [...series.values()].map((line) => ({ ...line, labels: Object.fromEntries(line.labels) })),
    quarterHours: [...quarterHours.values()],
    pending,
    pendingByToday,
    uncertainMinutes,
    quantity,
    recordCount,
  };
}

function added(a: RollupDelta, b: RollupDelta): RollupDelta {
  return { ...a, quantity: a.quantity + b.quantity, recordCount: a.recordCount + b.recordCount };
}

/** Records of one catalog. */
interface RecordPage {
  readonly catalogId: number | null;
  readonly records: readonly UsageRecord[];
}

async function* readPages(
  client: Queryable,
  catalogs: AppliedCatalogs,
  customerId: string,
  { startMs, endMs }: Interval,
): AsyncGenerator<RecordPage> {
  let after = "";
  for (;;) {
    const result = await client.query<RawRecordRow>(RECORDS, [
      customerId,
      dayOf(startMs),
      new Date(startMs),
      new Date(endMs),
      after,
      PAGE_SIZE,
    ]);
    await catalogs.load(
      client,
      result.rows.map((row) => row.catalog_id),
    );
    const byCatalog = Map.groupBy(result.rows, (row) => row.catalog_id);
    for (const [catalogId, rows] of byCatalog) {
      yield { catalogId, records: rows.map((row) => toRecord(customerId, row)) };
    }
    if (result.rows.length < PAGE_SIZE) return;
    after = result.rows.at(-1)?.idempotency_key ?? after;
  }
}
