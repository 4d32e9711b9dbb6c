// Counters of limits as the ledger keeps them: written by ledger-write with the sums, read and counted anew here.
import type { LedgerComparison, LedgerSnapshot, LimitCounters, LimitLedger } from "../app/ports/limits.ts";
import type { WindowCounter } from "../domain/limit-counters.ts";
import {
  type KeyRef,
  type KeyUsage,
  LIMIT_CLOCK_SLACK_MS,
  type LimitWindow,
  limitPolicyOf,
  limitWindowAt,
  MINUTE_PLACES,
  placeOf,
} from "../domain/limits.ts";
import { type MeterCatalog, REQUESTS_METER } from "../domain/meter.ts";
import { shardOf } from "../domain/shard.ts";
import { inTransaction, type Pool, type PoolClient, type Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";
import { reading, repeatable } from "./unavailable.ts";

const USAGE = { name: "limit-usage", text: sqlFile("limit-usage") };
const COMPARE = sqlFile("limit-compare");
const SNAPSHOT = { name: "limit-snapshot", text: sqlFile("limit-snapshot") };
const CLEAR = sqlFile("limit-clear");
const RECOUNT = sqlFile("limit-recount");
const LOCK_SHARDS = sqlFile("ledger-lock-shards");
const KEY = sqlFile("api-key-read");

/** Most raw records that one comparison reads: some tenths of a second of the database's time. */
const COMPARED_RECORDS_MAX = 100_000;

/** What keys used by the ledger: all of it with Postgres intake, and all but what waits in the buffer with Redis. */
export function postgresLimitCounters(pool: Pool, nowMs: () => number): LimitCounters {
  return { read: (keys) => reading(() => readUsage(pool, keys, nowMs())) };
}

export function postgresLimitLedger(pool: Pool, catalog: MeterCatalog, shardCount: number): LimitLedger {
  return {
    compare: (after, limit, nowMs) => reading(() => compare(pool, catalog, after, limit, nowMs)),
    recount: (key) => repeatable(() => recount(pool, catalog, shardCount, key)),
    snapshot: (shard, keys) => reading(() => snapshot(pool, shard, keys)),
  };
}

/** Counts a key anew. The transaction holds the customer's shard, so that nothing is added meanwhile. */
export async function recountLocked(
  client: PoolClient,
  catalog: MeterCatalog,
  { customerId, apiKeyId }: KeyRef,
): Promise<void> {
  const firstMinute = new Date(limitWindowAt("minute", (await nowMsOf(client)) - LIMIT_CLOCK_SLACK_MS).startMs);
  await client.query(CLEAR, [customerId, apiKeyId]);
  const { meters } = limitPolicyOf(catalog);
  await client.query(RECOUNT, [customerId, apiKeyId, meters, REQUESTS_METER, firstMinute]);
}

async function recount(pool: Pool, catalog: MeterCatalog, shardCount: number, key: KeyRef): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query(LOCK_SHARDS, [[shardOf(key.customerId, shardCount)]]);
    const [row] = (await client.query<{ deleted_at: Date | null }>(KEY, [key.customerId, key.apiKeyId])).rows;
    if (row?.deleted_at === null) await recountLocked(client, catalog, key);
  });
}

async function readUsage(
  pool: Pool,
  keys: readonly KeyRef[],
  nowMs: number,
): Promise<readonly (KeyUsage | undefined)[]> {
  const minuteMs = limitWindowAt("minute", nowMs).startMs;
  const dayMs = limitWindowAt("day", nowMs).startMs;
  const result = await pool.query<{ index: number; minute: string; day: string }>(USAGE, [
    keys.map((key) => key.customerId),
    keys.map((key) => key.apiKeyId),
    new Date(minuteMs),
    placeOf("minute", minuteMs),
    new Date(dayMs),
    placeOf("day", dayMs),
  ]);
  const usages = new Array<KeyUsage | undefined>(keys.length).fill(undefined);
  for (const { index, minute, day } of result.rows)
    usages[index - 1] = { nowMs, minute: BigInt(minute), day: BigInt(day) };
  return usages;
}

interface SnapshotRow {
  readonly epoch: string;
  readonly cursor: string;
  /** Of the keys, counted from 1. */
  readonly defined: readonly number[];
  /** Key, place, start of the window in ms, used, voided. */
  readonly counters: readonly (readonly [number, number, number, string, string])[];
}

async function snapshot(pool: Pool, shard: number, keys: readonly KeyRef[]): Promise<LedgerSnapshot> {
  const values = [shard, keys.map((key) => key.customerId), keys.map((key) => key.apiKeyId)];
  const [row] = (await pool.query<SnapshotRow>({ ...SNAPSHOT, values })).rows;
  if (row === undefined) throw new Error(`shard ${shard} has no row`);
  const counters = new Array<WindowCounter[] | undefined>(keys.length).fill(undefined);
  for (const index of row.defined) counters[index - 1] = [];
  for (const [index, place, windowStartMs, used, voided] of row.counters) {
    const window = place < MINUTE_PLACES ? "minute" : "day";
    counters[index - 1]?.push({ window, windowStartMs, used: BigInt(used), voided: BigInt(voided) });
  }
  return { epoch: row.epoch, cursor: row.cursor, counters };
}

interface CompareRow {
  readonly keys: readonly (readonly [string, string])[];
  readonly drifts: readonly (readonly [string, string, LimitWindow, number, string, string])[];
}

async function compare(
  pool: Pool,
  catalog: MeterCatalog,
  after: KeyRef | undefined,
  limit: number,
  nowMs: number,
): Promise<LedgerComparison> {
  const firstMinute = new Date(limitWindowAt("minute", nowMs - LIMIT_CLOCK_SLACK_MS).startMs);
  const { meters } = limitPolicyOf(catalog);
  const { customerId, apiKeyId } = after ?? { customerId: "", apiKeyId: "" };
  const values = [customerId, apiKeyId, limit, meters, REQUESTS_METER, firstMinute, COMPARED_RECORDS_MAX];
  const [row] = (await pool.query<CompareRow>(COMPARE, values)).rows;
  if (row === undefined) throw new Error("limit-compare returned no row");
  return {
    keys: row.keys.map(([customer, key]) => ({ customerId: customer, apiKeyId: key })),
    drifts: row.drifts.map(([customer, key, window, windowStartMs, counted, recorded]) => {
      const key_ = { customerId: customer, apiKeyId: key };
      return { ...key_, window, windowStartMs, counted: BigInt(counted), recorded: BigInt(recorded) };
    }),
  };
}

async function nowMsOf(client: Queryable): Promise<number> {
  // The statement's time: the transaction may have waited for its shard.
  const result = await client.query<{ now: Date }>("SELECT statement_timestamp() AS now");
  const now = result.rows[0]?.now;
  if (now === undefined) throw new Error("the database did not tell its time");
  return now.getTime();
}
