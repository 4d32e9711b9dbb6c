// Counters of limits in Redis against the ledger: what differs is found, told and set right; what is void is heard of.
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, expect, it } from "vitest";
import { compareIntakeLimits } from "../../../src/app/compare-intake-limits.ts";
import type { LedgerDrift } from "../../../src/app/ports/limits.ts";
import { seedLimits } from "../../../src/app/seed-limits.ts";
import { limitPolicyOf } from "../../../src/domain/limits.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { postgresApiKeys } from "../../../src/postgres/api-keys.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { postgresLimitLedger } from "../../../src/postgres/limit-ledger.ts";
import { makePartitions } from "../../../src/postgres/partitions.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { closeRedis } from "../../../src/redis/client.ts";
import { limitKey } from "../../../src/redis/keys.ts";
import { redisLimits } from "../../../src/redis/limits.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { TEST_SHARD_COUNT, testIntake, testRedis, testStream } from "../../support/redis-client.ts";

/** A noon that is to come: no minute ends meanwhile, and the database's own time is before it. */
const NOW_MS = (Math.floor(Date.now() / 86_400_000) + 1) * 86_400_000 + 43_200_000;
const KEY = { customerId: "cus_1", apiKeyId: "key_1" };
const SHARD = shardOf(KEY.customerId, TEST_SHARD_COUNT);
const HASH = limitKey(SHARD, KEY.customerId, KEY.apiKeyId);

describeWithRedis("limits in Redis, compared with the ledger", () => {
  let server: RedisServer;
  let database: TestDatabase;
  let client: Redis;

  beforeAll(async () => {
    [server, database] = await Promise.all([startRedis(), createTestDatabase()]);
    client = await testRedis(server.url);
    await openDeployment(database.pool, TEST_SHARD_COUNT, "redis");
    await makePartitions(database.pool, NOW_MS);
  });
  afterAll(async () => {
    await closeRedis(client);
    await Promise.all([server.close(), database.close()]);
  });

  it("differ by nothing while records wait, differ by what was changed, and are seeded anew", async () => {
    const { pool } = database;
    const catalog = testCatalog();
    const ledger = postgresLedger(pool, catalog, TEST_SHARD_COUNT);
    const keys = postgresApiKeys(pool, catalog, TEST_SHARD_COUNT);
    const nowMs = () => NOW_MS;
    const drifts: LedgerDrift[] = [];
    const options = {
      ledger: postgresLimitLedger(pool, catalog, TEST_SHARD_COUNT),
      intake: redisLimits({ client, shardCount: TEST_SHARD_COUNT, nowMs, randomId: randomUUID }),
      meters: limitPolicyOf(catalog).meters,
      shardCount: TEST_SHARD_COUNT,
      clock: { ...testClock(), nowMs },
      randomId: randomUUID,
      logger: { debug() {}, info() {}, warn() {}, error() {} },
      keys,
      onDrift: (drift: LedgerDrift) => drifts.push(drift),
    };
    const compare = () => compareIntakeLimits(options, { mayBegin: () => true });
    const left = async () => (await options.intake.read([KEY]))[0];
    const record = (idempotencyKey: string, quantity: bigint) =>
      usageRecord({ ...KEY, idempotencyKey, eventTimeMs: NOW_MS, measurements: { input_tokens: quantity } });
    const intake = testIntake(client, { nowMs });
    const stream = testStream(client, server.url);
    /** The ledger's next step: all that waits. */
    const apply = async () => {
      const at = (await ledger.shards()).find(({ shard }) => shard === SHARD);
      if (at === undefined) throw new Error("no shard");
      const entries = await stream.read(SHARD, at.cursor, new AbortController().signal);
      const move = { shard: SHARD, epoch: at.epoch, fromEntryId: at.cursor, toEntryId: entries.at(-1)?.entryId ?? "" };
      await ledger.apply(
        entries.flatMap(({ records }) => records),
        { ...move, watermarkMs: NOW_MS },
      );
    };
    await ledger.adoptEpoch(SHARD, "", (await stream.state(SHARD)).epoch, NOW_MS);
    await keys.create({ ...KEY, name: "", tier: "", tokensPerMinute: 10n, tokensPerDay: 10n, disabled: false });
    await compare(); // Nothing is counted there yet.
    await intake.record([record("a", 1n)]);
    expect(await seedLimits(options, SHARD, [KEY])).toBe(true);
    await intake.record([record("b", 2n)]);
    await compare();
    await apply();
    await intake.record([record("c", 4n)]);
    await compare();
    expect(await left()).toMatchObject({ minute: 7n, day: 7n });

    // Taken back by a command that knows no Redis.
    await postgresVoids(pool, catalog, TEST_SHARD_COUNT).voidRecord({ ...KEY, idempotencyKey: "b", reason: "test" });
    expect(await left()).toMatchObject({ minute: 7n, day: 7n });
    await compare();
    expect(await left()).toMatchObject({ minute: 5n, day: 5n });
    expect(drifts).toEqual([]);

    // The day, in whichever place.
    const place = (await client.hexists(HASH, "u8")) === 1 ? "u8" : "u9";
    await client.hincrby(HASH, place, -3);
    await compare();
    expect(drifts).toEqual([{ ...KEY, window: "day", windowStartMs: NOW_MS - 43_200_000, counted: 2n, recorded: 5n }]);
    expect(await left()).toMatchObject({ minute: 5n, day: 5n });
    await intake.record([record("d", 8n)]);
    await apply();
    await compare();
    expect(await left()).toMatchObject({ minute: 13n, day: 13n });
    expect(drifts).toHaveLength(1);
  });
});
