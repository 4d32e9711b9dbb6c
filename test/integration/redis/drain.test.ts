import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Drain } from "../../../src/app/drain.ts";
import type { Intake } from "../../../src/app/ports/intake.ts";
import type { Ledger } from "../../../src/app/ports/ledger.ts";
import type { Logger } from "../../../src/app/ports/logger.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { closeRedis, redisReady } from "../../../src/redis/client.ts";
import { outcomes } from "../../contract/intake.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";
import { MemoryRegistry } from "../../support/memory-drain.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { TEST_SHARD_COUNT, testIntake, testRedis, testStream } from "../../support/redis-client.ts";

const QUIET: Logger = { debug() {}, info() {}, warn() {}, error() {} };

describeWithRedis("the drain, from Redis to Postgres", () => {
  let server: RedisServer;
  let client: Redis;
  let database: TestDatabase;
  let ledger: Ledger;
  let intake: Intake;
  const drains: { abort: AbortController; ended: Promise<void> }[] = [];

  beforeEach(async () => {
    [server, database] = await Promise.all([startRedis(), createTestDatabase()]);
    client = await testRedis(server.url);
    await openDeployment(database.pool, TEST_SHARD_COUNT, "redis");
    ledger = postgresLedger(database.pool, testCatalog(), TEST_SHARD_COUNT);
    intake = testIntake(client);
  });
  afterEach(async () => {
    await stopDrains();
    await closeRedis(client);
    await Promise.all([server.close(), database.close()]);
  });

  /** Each drain has a registry of its own unless one is given, and so drains all shards. */
  function startDrain(registry = new MemoryRegistry()): void {
    const abort = new AbortController();
    const drain = new Drain({
      workerId: randomUUID(),
      shardCount: TEST_SHARD_COUNT,
      stream: testStream(client, server.url),
      ledger,
      registry,
      clock: testClock(),
      observer: { applied() {}, position() {}, gap() {} },
      logger: QUIET,
      random: Math.random,
    });
    drains.push({ abort, ended: drain.run(abort.signal) });
  }

  async function stopDrains(): Promise<void> {
    for (const { abort } of drains) abort.abort();
    await Promise.all(drains.splice(0).map(({ ended }) => ended));
  }

  /** Resolves when the ledger has all that the streams were given, of the epoch that they are in. */
  async function drained(): Promise<void> {
    const stream = testStream(client, server.url);
    for (;;) {
      const shards = await ledger.shards();
      const states = await Promise.all(shards.map(({ shard }) => stream.state(shard)));
      if (shards.every((s, i) => s.epoch === states[i]?.epoch && s.cursor === states[i]?.lastEntryId)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  const numberOf = async (sql: string) => {
    const result = await database.pool.query<{ n: string }>(`SELECT (${sql}) AS n`);
    return Number(result.rows[0]?.n);
  };
  const recordCount = () => numberOf("SELECT count(*) FROM usage_record");
  const inputTokens = () =>
    numberOf(
      "SELECT sum(quantity) FROM rollup_day JOIN series USING (customer_id, series_id) WHERE meter = 'input_tokens'",
    );
  const gapCount = () => numberOf("SELECT count(*) FROM gap");
  const entryCount = async () => {
    const lengths = Array.from({ length: TEST_SHARD_COUNT }, (_, shard) => client.xlen(`metering:{${shard}}:stream`));
    return (await Promise.all(lengths)).reduce((sum, length) => sum + length, 0);
  };

  const batch = (size: number) =>
    Array.from({ length: size }, (_, i) =>
      usageRecord({ customerId: `cus_${i % 50}`, measurements: { input_tokens: 7n } }),
    );

  it("brings every record into the sums once, and empties the streams", async () => {
    startDrain();
    const records = batch(2_000);
    await Promise.all(records.map((record) => intake.record([record])));
    await intake.record(records);
    await drained();
    expect([await recordCount(), await inputTokens()]).toEqual([2_000, 14_000]);
    while ((await entryCount()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await gapCount()).toBe(0);
  });

  it("counts once with two drains on every shard, one of them starting over and over", async () => {
    startDrain();
    for (let round = 0; round < 5; round += 1) {
      startDrain();
      await Promise.all(batch(400).map((record) => intake.record([record])));
      const last = drains.pop();
      last?.abort.abort();
      await last?.ended;
    }
    await drained();
    expect([await recordCount(), await inputTokens()]).toEqual([2_000, 14_000]);
    expect(await gapCount()).toBe(0);
  });

  it("loses nothing when Redis is killed under load, and reports no gap", async () => {
    startDrain();
    const records = batch(1_000);
    const sending = Promise.all(
      records.map(async (record) => {
        for (;;) {
          const [outcome] = await outcomes(intake, [record]);
          if (outcome === "recorded" || outcome === "duplicate") return;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }),
    );
    await intake.record([usageRecord({ customerId: "cus_0", measurements: { input_tokens: 7n } })]);
    await server.kill();
    await server.start();
    await sending;
    await redisReady(client, 5_000);
    await drained();
    expect([await recordCount(), await inputTokens()]).toEqual([1_001, 7_007]);
    expect(await gapCount()).toBe(0);
  });

  it("reports a gap for each shard that had records when Redis comes back empty, and goes on", async () => {
    startDrain();
    await intake.record(batch(200));
    await drained();
    await stopDrains();
    expect(await outcomes(intake, batch(50))).toEqual(Array(50).fill("recorded"));
    await server.wipe();
    await redisReady(client, 5_000);
    startDrain();
    expect(await outcomes(intake, batch(100))).toEqual(Array(100).fill("recorded"));
    await drained();
    expect(await recordCount()).toBe(300);
    expect(await gapCount()).toBe(TEST_SHARD_COUNT);
  });

  it("keeps the watermark of an idle shard at the present", async () => {
    startDrain();
    await intake.record(batch(50));
    await drained();
    const fromMs = Date.now();
    for (;;) {
      const shards = await ledger.shards();
      if (shards.every(({ watermarkMs }) => (watermarkMs ?? 0) > fromMs)) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await recordCount()).toBe(50);
  });
});
