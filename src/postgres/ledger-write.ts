// The one statement that changes sums: what an apply adds, a void adds with its sign turned.
import { type LimitDelta, placeOf } from "../domain/limits.ts";
import type { BatchSums, RollupDelta } from "../domain/rollup.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { dayOf } from "./partitions.ts";
import type { PoolClient, Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const BOUNDARIES = { name: "ledger-boundaries", text: sqlFile("ledger-boundaries") };
const WRITE = { name: "ledger-write", text: sqlFile("ledger-write") };

/** What one write holds; any part may be empty. */
export interface LedgerBatch {
  /** Raw records to be kept, and the catalog by which they were summed. */
  readonly records: readonly UsageRecord[];
  readonly catalogId: number | null;
  /** To be added; windows cut at the boundaries that hold now. */
  readonly sums: BatchSums;
  /** Added to the counters of limits, or marked void in them; see limitDeltas. */
  readonly limits: { readonly of: "records" | "voids"; readonly deltas: readonly LimitDelta[] };
  /** To be listed as refused. */
  readonly refused: readonly RefusedRecord[];
}

/** An acknowledged record that is not counted. */
export interface RefusedRecord {
  readonly record: UsageRecord;
  readonly reason: "key_reused" | "overflow" | "unstorable";
}

/** Writes in one round trip. The caller's transaction holds the shards of all customers concerned. */
export async function writeBatch(client: PoolClient, batch: LedgerBatch): Promise<void> {
  const { records, catalogId, sums, limits, refused } = batch;
  await client.query(WRITE, [
    ...rawColumns(records),
    ...columnsOf(
      sums.series,
      (s) => s.customerId,
      (s) => s.seriesId,
      (s) => s.apiKeyId,
      (s) => s.model,
      (s) => s.meter,
      (s) => Object.fromEntries(s.labels),
    ),
    ...rollupColumns(sums.quarterHours),
    ...rollupColumns(sums.days),
    ...columnsOf(
      sums.pending,
      (p) => p.customerId,
      (p) => p.windowStartMs,
      (p) => p.eventName,
      (p) => p.payload,
      (p) => p.windowEndMs,
      (p) => p.quantity.toString(),
    ),
    ...columnsOf(
      refused,
      (r) => r.record.customerId,
      (r) => r.record.idempotencyKey,
      (r) => r.reason,
      (r) => toRefusedRecord(r.record),
    ),
    catalogId,
    ...columnsOf(
      sums.activity,
      (a) => a.customerId,
      (a) => a.records.toString(),
      (a) => a.tokens.toString(),
    ),
    ...columnsOf(
      limits.deltas,
      (d) => d.customerId,
      (d) => d.apiKeyId,
      (d) => placeOf(d.window, d.windowStartMs),
      (d) => d.windowStartMs,
      (d) => (limits.of === "records" ? d.used.toString() : "0"),
      (d) => (limits.of === "voids" ? d.used.toString() : "0"),
    ),
  ]);
}

/** Billing-period boundaries of customers, ascending; a customer without any is not in the map. */
export async function readBoundaries(
  client: Queryable,
  customerIds: readonly string[],
): Promise<ReadonlyMap<string, readonly number[]>> {
  const boundaries = new Map<string, number[]>();
  if (customerIds.length === 0) return boundaries;
  const result = await client.query<{ customer_id: string; boundary: Date }>(BOUNDARIES, [customerIds]);
  for (const row of result.rows) {
    const known = boundaries.get(row.customer_id);
    if (known) known.push(row.boundary.getTime());
    else boundaries.set(row.customer_id, [row.boundary.getTime()]);
  }
  return boundaries;
}

/** A JSON array for each column. */
export function columnsOf<Row>(rows: readonly Row[], ...readers: readonly ((row: Row) => unknown)[]): string[] {
  return readers.map((read) => JSON.stringify(rows.map(read)));
}

function rawColumns(records: readonly UsageRecord[]): string[] {
  return columnsOf(
    records,
    (r) => r.customerId,
    (r) => r.idempotencyKey,
    (r) => dayOf(r.eventTimeMs),
    (r) => r.eventTimeMs,
    (r) => r.apiKeyId,
    (r) => r.model,
    quantitiesOf,
    (r) => Object.fromEntries(r.labels),
  );
}

function rollupColumns(deltas: readonly RollupDelta[]): string[] {
  return columnsOf(
    deltas,
    (d) => d.customerId,
    (d) => d.windowStartMs,
    (d) => d.seriesId,
    (d) => d.quantity.toString(),
    (d) => d.recordCount.toString(),
  );
}

function toRefusedRecord(record: UsageRecord): object {
  const { customerId, idempotencyKey, eventTimeMs, apiKeyId, model } = record;
  const labels = Object.fromEntries(record.labels);
  const eventDay = dayOf(eventTimeMs);
  return {
    customerId,
    idempotencyKey,
    eventDay,
    eventTimeMs,
    apiKeyId,
    model,
    measurements: quantitiesOf(record),
    labels,
  };
}

/** At most 10^12 each: exact as JSON numbers. */
function quantitiesOf(record: UsageRecord): object {
  return Object.fromEntries(record.measurements.map((m) => [m.meter, Number(m.quantity)]));
}
