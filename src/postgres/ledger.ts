// The one apply: duplicate check, raw records, rollups, pending and the shard's cursor in one transaction. Called by the drain, and
// directly by Postgres intake.
import type { ApplyOutcome, ApplyResult, CursorMove, Ledger, ShardState } from "../app/ports/ledger.ts";
import { limitDeltas, limitPolicyOf } from "../domain/limits.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { sumBatch } from "../domain/rollup.ts";
import { shardOf } from "../domain/shard.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { type RegisteredCatalog, registerOnce } from "./catalogs.ts";
import { columnsOf, type RefusedRecord, readBoundaries, writeBatch } from "./ledger-write.ts";
import { dayOf, ensureDays } from "./partitions.ts";
import { inTransaction, type Pool, type PoolClient } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const MOVE_CURSOR = { name: "ledger-move-cursor", text: sqlFile("ledger-move-cursor") };
const LOCK_CUSTOMERS = { name: "ledger-lock-customers", text: sqlFile("ledger-lock-customers") };
const CLAIM_KEYS = { name: "ledger-claim-keys", text: sqlFile("ledger-claim-keys") };
const ADOPT_EPOCH = sqlFile("ledger-adopt-epoch");
const LOST_TAIL = sqlFile("ledger-lost-tail");
const RAISE_WATERMARKS = sqlFile("ledger-raise-watermarks");
const SHARDS = sqlFile("ledger-shards");

/** SQLSTATEs that the apply knows how to mend. */
const NUMERIC_OUT_OF_RANGE = "22003";
const CHECK_VIOLATION = "23514";
/** Classes of errors that lie in what a record holds: data exceptions and violated constraints. */
const RECORDS_FAULT = /^2[23]/;

/** The ledger as one process writes it. `catalog` is registered with the first apply, and every raw record names it. */
export function postgresLedger(pool: Pool, catalog: MeterCatalog, shardCount: number): Ledger {
  const registered = registerOnce(pool, catalog);
  return {
    apply: async (records, move) => applyMending(pool, await registered(), shardCount, records, move),
    async shards() {
      const result = await pool.query<{ shard: number; epoch: string; cursor: string; watermark: Date | null }>(SHARDS);
      return result.rows.map(({ shard, epoch, cursor, watermark }) => {
        return { shard, epoch, cursor, watermarkMs: watermark?.getTime() };
      });
    },
    async adoptEpoch(shard, fromEpoch, toEpoch, nowMs) {
      const result = await pool.query(ADOPT_EPOCH, [shard, fromEpoch, toEpoch, new Date(nowMs)]);
      return result.rowCount === 1;
    },
    async reportLostTail(state: ShardState, nowMs) {
      await pool.query(LOST_TAIL, [state.shard, state.epoch, state.cursor, new Date(nowMs)]);
    },
    async raiseWatermarks(seen) {
      await pool.query(RAISE_WATERMARKS, [JSON.stringify(seen)]);
    },
  };
}

/** Applies; where that fails for a reason that can be mended, mends it and applies again, so that no record can block its shard. */
async function applyMending(
  pool: Pool,
  catalog: RegisteredCatalog,
  shardCount: number,
  records: readonly UsageRecord[],
  move: CursorMove | undefined,
): Promise<ApplyResult> {
  const apply = (mode: "together" | "one_by_one") => applyOnce(pool, catalog, shardCount, records, move, mode);
  try {
    return await apply("together");
  } catch (cause) {
    if (!isRecordsFault(cause)) throw cause;
    if (sqlStateOf(cause) !== CHECK_VIOLATION) return apply("one_by_one");
  }
  // No partition for an event day: maintenance is late, or the record waited long in the buffer.
  const days = records.map((r) => dayOf(r.eventTimeMs));
  await ensureDays(pool, days);
  try {
    return await apply("together");
  } catch (cause) {
    if (!isRecordsFault(cause)) throw cause;
    // So that only the record at fault is refused. Rows are locked out of order then; a deadlock is one more try.
    return apply("one_by_one");
  }
}

/**
 * The transaction. Nothing is visible before its commit, so a crash at any number leaves the ledger as it was.
 *
 * 1. lock the shard(s) and name whose totals may change, for a drain by moving the cursor: a second drainer waits here and then finds it moved;
 * 2. claim the keys: what was there before is a duplicate or a reused key;
 * 3. write raw records, sums and refusals;
 * 4. commit. A crash right after: the drain finds the cursor moved; a caller of Postgres intake retries and gets DUPLICATE.
 */
async function applyOnce(
  pool: Pool,
  catalog: RegisteredCatalog,
  shardCount: number,
  records: readonly UsageRecord[],
  move: CursorMove | undefined,
  mode: "together" | "one_by_one",
): Promise<ApplyResult> {
  return inTransaction(pool, async (client) => {
    if (!(await lockShards(client, shardCount, records, move))) return { kind: "cursor_moved" }; // 1
    if (records.length === 0) return { kind: "applied", outcomes: [] };
    // What a drain brings was acknowledged before; what comes without one is told to its caller, who need not find it in a list.
    const listRefused = move !== undefined;
    if (mode === "together") {
      return { kind: "applied", outcomes: await applyLocked(client, catalog, records, listRefused) };
    }
    const outcomes: ApplyOutcome[] = [];
    for (const record of records) outcomes.push(await applyAlone(client, catalog, record, listRefused));
    return { kind: "applied", outcomes };
  }); // 4
}

async function lockShards(
  client: PoolClient,
  shardCount: number,
  records: readonly UsageRecord[],
  move: CursorMove | undefined,
): Promise<boolean> {
  const customers = [...new Set(records.map((r) => r.customerId))];
  if (move !== undefined) {
    const { shard, epoch, fromEntryId, toEntryId, watermarkMs } = move;
    const values = [shard, epoch, fromEntryId, toEntryId, new Date(watermarkMs), customers];
    return (await client.query(MOVE_CURSOR, values)).rowCount === 1;
  }
  await client.query(LOCK_CUSTOMERS, [JSON.stringify(byShard(customers, shardCount))]);
  return true;
}

function byShard(customers: readonly string[], shardCount: number): Record<number, string[]> {
  const shards: Record<number, string[]> = {};
  for (const customer of customers) {
    const shard = shardOf(customer, shardCount);
    const known = shards[shard];
    if (known === undefined) shards[shard] = [customer];
    else known.push(customer);
  }
  return shards;
}

/** Steps 2 and 3. */
async function applyLocked(
  client: PoolClient,
  catalog: RegisteredCatalog,
  records: readonly UsageRecord[],
  listRefused: boolean,
): Promise<ApplyOutcome[]> {
  const distinct = new Map<string, UsageRecord>();
  for (const record of records) {
    const key = identityOf(record);
    if (!distinct.has(key)) distinct.set(key, record);
  }
  const holders = await claimKeys(client, [...distinct.values()]); // 2
  const outcomes = records.map((record): ApplyOutcome => {
    const key = identityOf(record);
    const holder = holders.get(key);
    if (holder !== undefined) return holder === record.fingerprint ? "duplicate" : "key_reused";
    holders.set(key, record.fingerprint);
    return "applied";
  });
  const fresh = records.filter((_, i) => outcomes[i] === "applied");
  const reused = listRefused ? records.filter((_, i) => outcomes[i] === "key_reused") : [];
  const refused = reused.map((record) => ({ record, reason: "key_reused" as const }));
  if (fresh.length > 0 || refused.length > 0) await write(client, catalog, fresh, refused); // 3
  return outcomes;
}

/** Applies one record inside the transaction; one that cannot be stored is undone and refused alone. */
async function applyAlone(
  client: PoolClient,
  catalog: RegisteredCatalog,
  record: UsageRecord,
  listRefused: boolean,
): Promise<ApplyOutcome> {
  await client.query("SAVEPOINT one_record");
  try {
    const [outcome] = await applyLocked(client, catalog, [record], listRefused);
    await client.query("RELEASE SAVEPOINT one_record");
    return outcome ?? "applied";
  } catch (cause) {
    if (!isRecordsFault(cause)) throw cause;
    await client.query("ROLLBACK TO SAVEPOINT one_record");
    const outcome = sqlStateOf(cause) === NUMERIC_OUT_OF_RANGE ? "overflow" : "unstorable";
    if (listRefused) await write(client, catalog, [], [{ record, reason: outcome }]);
    return outcome;
  }
}

/** Claims keys; returns the fingerprints of those that somebody claimed before, by identity. */
async function claimKeys(client: PoolClient, records: readonly UsageRecord[]): Promise<Map<string, string>> {
  const result = await client.query<{ customerId: string; idempotencyKey: string; fingerprint: string }>(
    CLAIM_KEYS,
    columnsOf(
      records,
      (r) => r.customerId,
      (r) => r.idempotencyKey,
      (r) => dayOf(r.eventTimeMs),
      (r) => r.fingerprint,
    ),
  );
  return new Map(result.rows.map((row) => [identityOf(row), row.fingerprint]));
}

async function write(
  client: PoolClient,
  catalog: RegisteredCatalog,
  fresh: readonly UsageRecord[],
  refused: readonly RefusedRecord[],
): Promise<void> {
  const boundaries = await readBoundaries(client, [...new Set(fresh.map((r) => r.customerId))]);
  const sums = sumBatch(fresh, catalog, (customerId) => boundaries.get(customerId) ?? []);
  const limits = { of: "records", deltas: limitDeltas(fresh, limitPolicyOf(catalog).meters) } as const;
  await writeBatch(client, { records: fresh, catalogId: catalog.catalogId, sums, limits, refused });
}

/** Injective over (customer, key). */
function identityOf({ customerId, idempotencyKey }: Pick<UsageRecord, "customerId" | "idempotencyKey">): string {
  return `${customerId.length}:${customerId}${idempotencyKey}`;
}

function isRecordsFault(cause: unknown): boolean {
  return RECORDS_FAULT.test(sqlStateOf(cause) ?? "");
}

function sqlStateOf(cause: unknown): string | undefined {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
}
