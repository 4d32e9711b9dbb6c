// Voids: a record is taken out of all sums, and a fact of its own says so. The record stays.
import type { VoidedRecord, VoidLedger, VoidRequest, VoidResult } from "../app/ports/ledger.ts";
import { limitDeltas, limitPolicyOf } from "../domain/limits.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { type BatchSums, negated, type PendingDelta, sumBatch } from "../domain/rollup.ts";
import { shardOf } from "../domain/shard.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { AppliedCatalogs } from "./catalogs.ts";
import { readBoundaries, writeBatch } from "./ledger-write.ts";
import { dayOf } from "./partitions.ts";
import { inTransaction, type Pool, type PoolClient, type Queryable } from "./pool.ts";
import { type RawRecordRow, toRecord } from "./raw-records.ts";
import { sqlFile } from "./sql-file.ts";
import { repeatable } from "./unavailable.ts";

const FIND = sqlFile("void-find");
const LOCK_CUSTOMERS = sqlFile("ledger-lock-customers");
const LOCK_PENDING = sqlFile("recut-lock-pending");
const INSERT = sqlFile("void-insert");
const CLEAR_EMPTY = sqlFile("void-clear-empty");

/** `catalog` is today's: records that were applied before catalogs were kept are taken back by it. */
export function postgresVoids(pool: Pool, catalog: MeterCatalog, shardCount: number): VoidLedger {
  return { voidRecord: (request) => repeatable(() => voidRecord(pool, catalog, shardCount, request)) };
}

interface Found {
  readonly record: UsageRecord;
  readonly catalogId: number | null;
  readonly voided: VoidedRecord | undefined;
}

/**
 * 1. without a lock: is there such a record, and is it void already? A file of keys that is voided once more holds up nobody;
 * 2. lock the shard, as every apply and recut does first, and look again: from here on neither the sums nor the boundaries change.
 *    This counts the shard's version up too, so that streams look;
 * 3. write the void, and the record's sums with their sign turned, by the catalog under which it was applied, in windows cut where they
 *    are cut today. The planner of reports waits for these windows or finds them changed: it sends the difference, never both;
 * 4. commit. Nothing is visible before, so a crash at 1 to 3 leaves the ledger as it was. A crash right after: the caller repeats, and
 *    finds the record void.
 */
async function voidRecord(
  pool: Pool,
  catalog: MeterCatalog,
  shardCount: number,
  request: VoidRequest,
): Promise<VoidResult> {
  const { customerId } = request;
  const seen = await find(pool, request); // 1
  if (seen === undefined) return { kind: "not_found" };
  if (seen.voided !== undefined) return { kind: "already_voided", record: seen.voided };
  return inTransaction(pool, async (client): Promise<VoidResult> => {
    const locked = await client.query(LOCK_CUSTOMERS, [{ [shardOf(customerId, shardCount)]: [customerId] }]); // 2
    if (locked.rowCount !== 1) throw new Error(`the shard of customer ${customerId} has no row`);
    const found = await find(client, request);
    if (found === undefined) return { kind: "not_found" };
    if (found.voided !== undefined) return { kind: "already_voided", record: found.voided };
    return { kind: "voided", record: await takeBack(client, catalog, request, found) }; // 3
  }); // 4
}

async function find(client: Queryable, { customerId, idempotencyKey }: VoidRequest): Promise<Found | undefined> {
  const result = await client.query<RawRecordRow & { reason: string | null; voided_at: Date | null }>(FIND, [
    customerId,
    idempotencyKey,
  ]);
  const row = result.rows[0];
  if (row === undefined) return undefined;
  const { reason, voided_at: voidedAt, catalog_id: catalogId } = row;
  const record = toRecord(customerId, row);
  const voided = reason === null || voidedAt === null ? undefined : toVoided(record, reason, voidedAt);
  return { record, catalogId, voided };
}

/** Step 3. */
async function takeBack(
  client: PoolClient,
  today: MeterCatalog,
  { customerId, idempotencyKey, reason }: VoidRequest,
  { record, catalogId }: Found,
): Promise<VoidedRecord> {
  const day = dayOf(record.eventTimeMs);
  const inserted = await client.query<{ voided_at: Date }>(INSERT, [customerId, idempotencyKey, day, reason]);
  const voidedAt = inserted.rows[0]?.voided_at;
  if (voidedAt === undefined) throw new Error("a void was inserted and got no time");
  const catalogs = new AppliedCatalogs(today);
  await catalogs.load(client, [catalogId]);
  const boundaries = await readBoundaries(client, [customerId]);
  const sums = sumBatch([record], catalogs.get(catalogId), () => boundaries.get(customerId) ?? []);
  const pending = catalogId === null ? await withinTotals(client, customerId, sums.pending) : sums.pending;
  const taken = negated({ ...sums, pending });
  // By today's meters, as counters are counted, whatever the record was summed by.
  const limits = { of: "voids", deltas: limitDeltas([record], limitPolicyOf(today).meters) } as const;
  await writeBatch(client, { records: [], catalogId, sums: taken, limits, refused: [] });
  await clearEmpty(client, customerId, taken);
  return toVoided(record, reason, voidedAt);
}

/**
 * What a record from before catalogs were kept has added to windows is guessed by today's rules; more than a window holds it was not. So
 * an event name that is new since is not billed negatively.
 */
async function withinTotals(
  client: Queryable,
  customerId: string,
  pending: readonly PendingDelta[],
): Promise<PendingDelta[]> {
  const starts = [...new Set(pending.map((delta) => delta.windowStartMs))].map((ms) => new Date(ms));
  const locked = await client.query<{ event_name: string; payload: string; total: string }>(LOCK_PENDING, [
    customerId,
    starts,
  ]);
  return pending.flatMap((delta) => {
    const row = locked.rows.find((one) => one.event_name === delta.eventName && one.payload === delta.payload);
    const total = BigInt(row?.total ?? 0);
    const quantity = delta.quantity < total ? delta.quantity : total;
    return quantity > 0n ? [{ ...delta, quantity }] : [];
  });
}

/** A record lies in one quarter-hour and one day. */
async function clearEmpty(client: Queryable, customerId: string, sums: BatchSums): Promise<void> {
  const [quarterHour] = sums.quarterHours;
  const [day] = sums.days;
  if (quarterHour === undefined || day === undefined) throw new Error("a record adds to no rollup");
  const seriesIds = sums.series.map((line) => line.seriesId);
  const starts = [new Date(quarterHour.windowStartMs), new Date(day.windowStartMs)];
  await client.query(CLEAR_EMPTY, [customerId, ...starts, seriesIds]);
}

function toVoided(record: UsageRecord, reason: string, voidedAt: Date): VoidedRecord {
  const { apiKeyId, eventTimeMs, measurements } = record;
  return { apiKeyId, eventTimeMs, measurements, reason, voidedAtMs: voidedAt.getTime() };
}
