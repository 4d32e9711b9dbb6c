// What the stores hold, read from them and not from the service.
import { setTimeout as delay } from "node:timers/promises";
import type { Pool } from "../src/postgres/pool.ts";
import type { openRedis } from "../src/redis/client.ts";
import { streamKey } from "../src/redis/keys.ts";

type Redis = ReturnType<typeof openRedis>;

const PAGE_ENTRIES = 1_000;
const POLL_MS = 50;
/** A drain that moves nothing for so long has come to its end, or never will. */
const STANDSTILL_MS = 5_000;

/** Records in the streams of all shards, of which nothing was drained. */
export async function recordsInStreams(redis: Redis, shardCount: number): Promise<number> {
  let records = 0;
  for (let shard = 0; shard < shardCount; shard += 1) {
    let from = "-";
    for (;;) {
      const entries = (await redis.xrange(streamKey(shard), from, "+", "COUNT", PAGE_ENTRIES)) as [string, string[]][];
      for (const [, fields] of entries) records += linesIn(fields[fields.indexOf("r") + 1] ?? "");
      const last = entries.at(-1)?.[0];
      if (last === undefined || entries.length < PAGE_ENTRIES) break;
      from = `(${last}`;
    }
  }
  return records;
}

function linesIn(text: string): number {
  let lines = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines += 1;
  return lines;
}

/** Records summed in the ledger. Cheap: reads sums, not records. */
export async function recordsSummed(pool: Pool): Promise<number> {
  const result = await pool.query<{ records: string }>(
    "SELECT coalesce(sum(quantity), 0) AS records FROM rollup_day JOIN series USING (customer_id, series_id) WHERE meter = 'requests'",
  );
  return Number(result.rows[0]?.records);
}

/** Records in the ledger: raw ones, summed ones, claimed keys. Throws where these three differ. */
export async function recordsInLedger(pool: Pool): Promise<number> {
  const summed = await recordsSummed(pool);
  const result = await pool.query<{ raw: string; keys: string; refused: string }>(
    `SELECT (SELECT count(*) FROM usage_record) AS raw, (SELECT count(*) FROM idempotency_key) AS keys,
       (SELECT count(*) FROM refused_record) AS refused`,
  );
  const { raw, keys, refused } = result.rows[0] ?? {};
  if (Number(raw) !== summed || Number(keys) !== summed || Number(refused) !== 0)
    throw new Error(`the ledger disagrees with itself: ${summed} summed, ${raw} raw, ${keys} keys, ${refused} refused`);
  return summed;
}

/** Resolves when the ledger sums `records`, or when it no longer moves. */
export async function drained(pool: Pool, records: number): Promise<void> {
  let [last, movedMs] = [-1, performance.now()];
  for (;;) {
    const summed = await recordsSummed(pool);
    if (summed !== last) movedMs = performance.now();
    if (summed >= records || performance.now() - movedMs > STANDSTILL_MS) return;
    last = summed;
    await delay(POLL_MS);
  }
}
