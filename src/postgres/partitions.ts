// Partitions of raw records, one an event day: made ahead, dropped after retention together with their idempotency keys.
import { DAY_MS } from "../domain/window.ts";
import { inTransaction, type Pool, type Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

/** Partitions exist this many days ahead of today, so that a stalled service still finds one. */
const DAYS_AHEAD = 7;
/** Keys deleted per transaction. */
const KEYS_PER_STEP = 10_000;
/** Event days are refused by the intake when older; partitions are made at least this far back. */
const DAYS_BACK = 36;

const LIST = sqlFile("partitions-list");
const FORGET_KEYS = sqlFile("partition-forget-keys");
const DROP_BEFORE = sqlFile("partitions-drop-before");
const WHOLE_FROM = sqlFile("partitions-whole-from");

/** What one round of maintenance did; days as "2026-11-23". */
export interface MaintenanceResult {
  readonly made: readonly string[];
  readonly dropped: readonly string[];
}

/** The UTC day of an instant, "2026-11-23". */
export function dayOf(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

/** Makes the partitions of these days where they are missing. Concurrent makers take turns on an advisory lock. */
export async function ensureDays(pool: Pool, days: readonly string[]): Promise<readonly string[]> {
  const existing = new Set(await listDays(pool));
  const missing = [...new Set(days)].filter((day) => !existing.has(day));
  if (missing.length === 0) return [];
  await inTransaction(pool, async (client) => {
    await client.query("SELECT pg_advisory_xact_lock(hashtext('usage_record partitions'))");
    for (const day of missing) {
      // Days are our own ISO dates: nothing in them needs quoting, and DDL takes no parameters. Attached, not created in place: that would
      // wait for every reader of raw records, and appliers would queue behind it.
      const partition = partitionOf(day);
      const known = await client.query<{ exists: boolean }>("SELECT to_regclass($1) IS NOT NULL AS exists", [
        partition,
      ]);
      if (known.rows[0]?.exists) continue;
      await client.query(
        `CREATE TABLE ${partition} (LIKE usage_record INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
         ALTER TABLE usage_record ATTACH PARTITION ${partition}
           FOR VALUES FROM ('${day}') TO ('${dayOf(Date.parse(day) + DAY_MS)}')`,
      );
    }
  });
  return missing;
}

/** The database's time: what is dropped for good must not hang on the clock of whichever process looks. */
export async function databaseNowMs(pool: Pool): Promise<number> {
  const result = await pool.query<{ now: Date }>("SELECT now()");
  const now = result.rows[0]?.now;
  if (now === undefined) throw new Error("the database did not tell its time");
  return now.getTime();
}

/** Makes the partitions from 36 days back to a week ahead of `nowMs`, where they are missing; returns those made. Quick, idempotent. */
export async function makePartitions(pool: Pool, nowMs: number): Promise<readonly string[]> {
  const days = Array.from({ length: DAYS_BACK + DAYS_AHEAD + 1 }, (_, i) => dayOf(nowMs + (i - DAYS_BACK) * DAY_MS));
  return ensureDays(pool, days);
}

/**
 * One round of maintenance: partitions are made, and days wholly older than `retentionMs` go, keys first.
 *
 * 1. it is noted that these days are not whole any more: a record of one that comes later makes its partition anew, alone, and nothing may take
 *    it for all of that day. A crash leaves days that are whole, and are not looked at for it;
 * 2. keys of the day are deleted, some thousand a transaction; a crash leaves some, and the next round goes on;
 * 3. the partition is dropped. A crash before: the next round finds no keys and drops it.
 */
export async function maintainPartitions(pool: Pool, nowMs: number, retentionMs: number): Promise<MaintenanceResult> {
  const made = await makePartitions(pool, nowMs);
  const oldest = dayOf(nowMs - retentionMs);
  const old = (await listDays(pool)).filter((day) => day < oldest);
  await pool.query(DROP_BEFORE, [oldest]); // 1
  for (const day of old) {
    await deleteKeysOf(pool, day); // 2
    await dropPartition(pool, day); // 3
  }
  return { made, dropped: old };
}

/** The drop needs the whole table for an instant, and appliers queue behind it: it waits briefly, or rejects until the next round. */
async function dropPartition(pool: Pool, day: string): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query("SET LOCAL lock_timeout = '2s'");
    await client.query(`DROP TABLE IF EXISTS ${partitionOf(day)}`);
  });
}

async function deleteKeysOf(pool: Pool, day: string): Promise<void> {
  let after: { customer_id: string; idempotency_key: string } | undefined = { customer_id: "", idempotency_key: "" };
  while (after !== undefined) {
    const result: { rows: { customer_id: string; idempotency_key: string }[] } = await pool.query(FORGET_KEYS, [
      after.customer_id,
      after.idempotency_key,
      KEYS_PER_STEP,
      day,
    ]);
    after = result.rows[0];
  }
}

/** Days of which all raw records are kept, ascending: those of earlier ones came after the day was dropped. */
export async function listWholeDays(client: Queryable): Promise<readonly string[]> {
  const days = await listDays(client);
  const result = await client.query<{ from: string | null }>(WHOLE_FROM);
  const from = result.rows[0]?.from ?? "";
  return days.filter((day) => day >= from);
}

/** Days of which there are raw records, ascending. */
export async function listDays(client: Queryable): Promise<readonly string[]> {
  const result = await client.query<{ name: string }>(LIST);
  return result.rows.map(({ name }) => name.slice("usage_record_".length).replaceAll("_", "-"));
}

function partitionOf(day: string): string {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(day)) throw new Error(`not a day: ${day}`);
  return `usage_record_${day.replaceAll("-", "_")}`;
}
