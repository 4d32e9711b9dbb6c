import type { Redis } from "ioredis";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { readDatabaseBytes, readLedgerSigns } from "../../../src/postgres/vital-signs.ts";
import { createMetrics } from "../../../src/process/metrics.ts";
import { StoreWatch } from "../../../src/process/store-watch.ts";
import { SYSTEM_CLOCK } from "../../../src/process/system-clock.ts";
import { closeRedis } from "../../../src/redis/client.ts";
import { readRedisSigns } from "../../../src/redis/vital-signs.ts";
import { useServedDatabase, useTestDatabase } from "../../support/postgres.ts";
import { describeWithRedis, startRedis } from "../../support/redis.ts";
import { testRedis } from "../../support/redis-client.ts";

const NEVER = new AbortController().signal;

/** A watch over real stores, and what its metrics say of one name. */
function watchOver(pool: Pool, redis?: Redis) {
  const metrics = createMetrics();
  const watch = new StoreWatch({
    readLedger: () => readLedgerSigns(pool),
    readDatabaseBytes: () => readDatabaseBytes(pool),
    readRedis: redis && (() => readRedisSigns(redis)),
    metrics: metrics.stores,
    clock: SYSTEM_CLOCK,
    logger: pino({ level: "silent" }),
  });
  const look = async () => {
    await watch.look(NEVER);
    const lines = (await metrics.registry.metrics()).split("\n").filter((line) => /^metering_/.test(line));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]));
  };
  return { look };
}

test("what the ledger lists is what the metrics say, whoever asks", async () => {
  const { pool } = await useServedDatabase();
  const { look } = watchOver(pool);
  const before = await look();
  expect(Object.fromEntries(before)).toMatchObject({
    metering_postgres_up: 1,
    metering_drain_workers: 0,
    metering_flush_lease_held: 0,
    metering_gaps_listed: 0,
    'metering_stripe_events{state="dead"}': 0,
  });
  expect(before.get("metering_database_bytes")).toBeGreaterThan(1_000_000);
  // Postgres intake: there is no lag, no gap, no Redis, and nothing is said of them.
  for (const name of ["metering_ledger_lag_seconds", "metering_last_gap_timestamp_seconds", "metering_redis_up"])
    expect(before.has(name)).toBe(false);

  await pool.query(
    "INSERT INTO gap (shard, lost_to, old_epoch, new_epoch, cursor, detected_at) VALUES (0, now(), 'a', 'b', '0-0', '2026-11-01T00:00:00Z')",
  );
  await pool.query(
    "INSERT INTO lease (name, holder, epoch, expires_at) VALUES ('flush', 'x', 1, now() + interval '1 h')",
  );
  await pool.query(
    "INSERT INTO worker (worker_id, heartbeat_at) VALUES ('w1', now()), ('gone', now() - interval '1 min')",
  );
  await pool.query(
    "INSERT INTO stripe_event (event_id, type, object_id, created_at, payload, state) SELECT 'evt_' || i, 't', 'o', now(), '{}', " +
      "CASE WHEN i = 1 THEN 'dead' WHEN i < 4 THEN 'received' ELSE 'applied' END FROM generate_series(1, 9) i",
  );
  expect(Object.fromEntries(await look())).toMatchObject({
    metering_drain_workers: 1,
    metering_flush_lease_held: 1,
    metering_gaps_listed: 1,
    metering_last_gap_timestamp_seconds: Date.parse("2026-11-01T00:00:00Z") / 1000,
    'metering_stripe_events{state="waiting"}': 2,
    'metering_stripe_events{state="dead"}': 1,
  });
});

test("a ledger that is away says so, and nothing that it said before", async () => {
  const database = await useTestDatabase();
  await openDeployment(database.pool, 2, "redis");
  const pool = database.connect();
  await pool.query("UPDATE shard SET watermark = now() - make_interval(secs => 100 + shard)");
  const { look } = watchOver(pool);
  expect((await look()).get("metering_ledger_lag_seconds")).toBeGreaterThanOrEqual(101);
  await pool.end();
  const after = await look();
  expect(after.get("metering_postgres_up")).toBe(0);
  for (const name of ["metering_ledger_lag_seconds", "metering_gaps_listed", "metering_flush_lease_held"])
    expect(after.has(name)).toBe(false);
});

describeWithRedis("with Redis", () => {
  test("its memory and its disk are seen, and that it is away", async () => {
    const { pool } = await useServedDatabase();
    const server = await startRedis();
    onTestFinished(() => server.close());
    const client = await testRedis(server.url);
    onTestFinished(() => closeRedis(client));
    const { look } = watchOver(pool, client);
    const unlimited = await look();
    expect(unlimited.get("metering_redis_up")).toBe(1);
    expect(unlimited.get("metering_redis_persistence_ok")).toBe(1);
    expect(unlimited.get("metering_redis_memory_bytes")).toBeGreaterThan(100_000);
    expect(unlimited.has("metering_redis_aof_bytes")).toBe(true);
    expect(unlimited.has("metering_redis_memory_max_bytes")).toBe(false);
    await server.command("CONFIG", "SET", "maxmemory", "100mb");
    expect((await look()).get("metering_redis_memory_max_bytes")).toBe(100 * 1024 * 1024);
    await server.command("CONFIG", "SET", "appendonly", "no");
    expect((await look()).has("metering_redis_aof_bytes")).toBe(false);
    client.disconnect();
    const away = await look();
    expect(away.get("metering_redis_up")).toBe(0);
    expect(away.has("metering_redis_persistence_ok")).toBe(false);
  });
});
