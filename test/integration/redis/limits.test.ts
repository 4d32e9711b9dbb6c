// Counters of limits in Redis: what each script does to them.
import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { IntakeLimits } from "../../../src/app/ports/limits.ts";
import type { WindowCounter } from "../../../src/domain/limit-counters.ts";
import { limitWindowAt } from "../../../src/domain/limits.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { closeRedis } from "../../../src/redis/client.ts";
import { REDIS_INTAKE_LIMITS } from "../../../src/redis/intake.ts";
import { limitKey } from "../../../src/redis/keys.ts";
import { runLimitBegin } from "../../../src/redis/limit-scripts.ts";
import { redisLimits } from "../../../src/redis/limits.ts";
import { usageRecord } from "../../support/records.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { TEST_SHARD_COUNT, testIntake, testRedis } from "../../support/redis-client.ts";

const NOW_MS = Date.UTC(2026, 2, 3, 12, 0, 30);
const MINUTE_MS = 60_000;
const KEY = { customerId: "cus_1", apiKeyId: "key_1" };
const SHARD = shardOf(KEY.customerId, TEST_SHARD_COUNT);
const HASH = limitKey(SHARD, KEY.customerId, KEY.apiKeyId);

describeWithRedis("counters of limits in Redis", () => {
  let server: RedisServer;
  let client: Redis;
  let limits: IntakeLimits;

  beforeAll(async () => {
    server = await startRedis();
    client = await testRedis(server.url);
  });
  beforeEach(async () => {
    await client.flushall();
    limits = redisLimits({ client, shardCount: TEST_SHARD_COUNT, nowMs: () => NOW_MS, randomId: () => "an epoch" });
  });
  afterAll(async () => {
    await closeRedis(client);
    await server.close();
  });

  const record = (quantity: bigint, fields: Parameters<typeof usageRecord>[0] = {}) =>
    usageRecord({ ...KEY, eventTimeMs: NOW_MS, measurements: { input_tokens: quantity }, ...fields });
  const open = (options: Parameters<typeof testIntake>[1] = {}) =>
    testIntake(client, { nowMs: () => NOW_MS, ...options });
  const used = (results: Awaited<ReturnType<ReturnType<typeof open>["record"]>>) =>
    results.map((result) => ("usage" in result && result.usage ? result.usage.day : undefined));
  const begin = async (generation = "g1") => {
    const { epoch, lastEntryId } = await limits.begin(SHARD, [KEY], generation);
    return { generation, epoch, lastEntryId };
  };
  const counter = (used: bigint, voided = 0n, atMs = NOW_MS, window: "minute" | "day" = "day"): WindowCounter => {
    return { window, windowStartMs: limitWindowAt(window, atMs).startMs, used, voided };
  };
  const seeded = async (counters: readonly WindowCounter[] = []) =>
    expect(await limits.complete(SHARD, KEY, await begin(), counters)).toBe(true);
  const read = async () => (await limits.read([KEY]))[0];

  it("count from the beginning on, are not known until they are completed, and then hold what was before too", async () => {
    const met: unknown[] = [];
    const intake = open({ onUncounted: (keys) => met.push(...keys) });
    expect(used(await intake.record([record(1n)]))).toEqual([undefined]);
    const begun = await begin();
    expect(used(await intake.record([record(2n)]))).toEqual([undefined]);
    expect(await read()).toBeUndefined();
    expect(met).toEqual([KEY, KEY]);
    expect(await limits.complete(SHARD, KEY, begun, [counter(1n)])).toBe(true);
    expect(await read()).toEqual({ nowMs: NOW_MS, minute: 2n, day: 3n });
    expect(used(await intake.record([record(4n)]))).toEqual([7n]);
    expect(met).toHaveLength(2);
  });

  it("count what is new, once: no duplicate, no reused key, nothing that a full stream has no room for", async () => {
    await seeded();
    const intake = open({ limits: { ...REDIS_INTAKE_LIMITS, streamEntries: 2 } });
    const one = record(5n, { idempotencyKey: "one" });
    const other = record(7n, { idempotencyKey: "one" });
    const third = record(11n);
    expect(used(await intake.record([one, one, third]))).toEqual([16n, 16n, 16n]);
    expect(used(await intake.record([one, other, record(1n)]))).toEqual([17n, undefined, 17n]);
    expect(used(await intake.record([record(100n), one]))).toEqual([undefined, 17n]);
    expect(await read()).toMatchObject({ minute: 17n, day: 17n });
  });

  it("count each record in the minute and the day of its event time, and a late one takes nobody's place", async () => {
    await seeded();
    const intake = open();
    await intake.record([
      record(1n),
      record(2n, { eventTimeMs: NOW_MS - MINUTE_MS }),
      record(4n, { eventTimeMs: NOW_MS - 8 * MINUTE_MS }),
      record(8n, { eventTimeMs: NOW_MS + 5 * MINUTE_MS }),
      record(16n, { eventTimeMs: NOW_MS - 48 * 60 * MINUTE_MS }),
    ]);
    expect(await read()).toMatchObject({ minute: 1n, day: 15n });
    await intake.record([record(32n, { eventTimeMs: NOW_MS + 8 * MINUTE_MS })]);
    expect(await read()).toMatchObject({ minute: 0n, day: 47n });
  });

  it("are exact beyond what a float holds", async () => {
    await seeded([counter(2n ** 62n)]);
    expect(used(await open().record([record(1n)]))).toEqual([2n ** 62n + 1n]);
    expect(await read()).toMatchObject({ day: 2n ** 62n + 1n });
  });

  it("are forgotten, not wrong, when they would leave 64 bits; the record is stored", async () => {
    await seeded([counter(2n ** 63n - 2n)]);
    const [first, second] = await open().record([record(1n), record(1n), record(1n)]);
    expect([first, second]).toMatchObject([{ outcome: "recorded" }, { outcome: "recorded" }]);
    expect(await client.exists(HASH)).toBe(0);
    expect(used(await open().record([record(1n)]))).toEqual([undefined]);
    expect(await limits.complete(SHARD, KEY, await begin(), [counter(2n ** 63n)])).toBe(false);
    expect(await read()).toBeUndefined();
  });

  it("are completed once, and only where they were begun in that generation and epoch", async () => {
    const first = await begin("g1");
    expect((await limits.begin(SHARD, [KEY], "g2")).begun).toEqual([false]);
    await client.del(HASH);
    const second = await begin("g2");
    expect(await limits.complete(SHARD, KEY, first, [counter(1n)])).toBe(false);
    expect(await limits.complete(SHARD, KEY, { ...second, epoch: "another" }, [counter(1n)])).toBe(false);
    expect(await read()).toBeUndefined();
    expect(await limits.complete(SHARD, KEY, second, [counter(2n)])).toBe(true);
    expect(await limits.complete(SHARD, KEY, second, [counter(2n)])).toBe(false);
    expect(await read()).toMatchObject({ day: 2n });
    expect((await limits.begin(SHARD, [KEY], "g3")).begun).toEqual([false]);
  });

  it("that were deleted, and begun again by a late repeat, are not completed with what was used before the first time", async () => {
    const first = await begin("g1");
    await open().record([record(5n)]);
    await client.del(HASH);
    const repeated = await begin("g1");
    expect(repeated.lastEntryId).not.toBe(first.lastEntryId);
    expect(await limits.complete(SHARD, KEY, first, [counter(1n)])).toBe(false);
    expect(await read()).toBeUndefined();
    expect(await limits.complete(SHARD, KEY, repeated, [counter(6n)])).toBe(true);
    expect(await read()).toMatchObject({ day: 6n });
  });

  it("are begun anew where they stand in the generation that is named, or were given up", async () => {
    await seeded([counter(9n)]);
    const other = { ...KEY, replacing: "g0" };
    expect((await limits.begin(SHARD, [other], "g2")).begun).toEqual([false]);
    expect((await limits.begin(SHARD, [{ ...KEY, replacing: "g1" }], "g2")).begun).toEqual([true]);
    expect(await read()).toBeUndefined();
    const settings = { shard: SHARD, epochCandidate: "e", generation: "g3" };
    const hashes = [{ hash: HASH, replaced: "" }];
    expect((await runLimitBegin(client, { ...settings, givenUpMs: 60_000 }, hashes)).states).toBe("0");
    // A repeat of its own beginning, however late, takes away nothing that was counted since.
    const again = { ...settings, generation: "g2", givenUpMs: 0 };
    expect((await runLimitBegin(client, again, hashes)).states).toBe("0");
    expect((await runLimitBegin(client, { ...settings, givenUpMs: 0 }, hashes)).states).toBe("1");
    expect(await client.hget(HASH, "g")).toBe("g3");
  });

  it("take in voids as absolute numbers that only grow, in whatever order they come", async () => {
    await seeded([counter(1_000n, 9n)]);
    const raise = (voided: bigint, generation = "g1", atMs = NOW_MS) =>
      limits.raiseVoided(SHARD, KEY, generation, [counter(0n, voided, atMs)]);
    await raise(100n);
    await raise(20n);
    expect(await read()).toMatchObject({ day: 900n });
    await raise(500n, "g0");
    await raise(500n, "g1", NOW_MS - 24 * 60 * MINUTE_MS);
    expect(await read()).toMatchObject({ day: 900n });
    expect(used(await open().record([record(1n)]))).toEqual([901n]);
    await limits.begin(SHARD, [{ ...KEY, replacing: "g1" }], "g2");
    await raise(500n, "g2");
    expect(await client.hget(HASH, "v8")).toBeNull();
  });

  it("tell at which entry they stand, and are kept for some days after the last record", async () => {
    await seeded([counter(5n, 1n)]);
    const [result] = await open().record([record(1n)]);
    const position = result !== undefined && "outcome" in result ? result.position : undefined;
    const other = { ...KEY, apiKeyId: "key_2" };
    expect(await limits.look(SHARD, [KEY, other])).toEqual({
      epoch: position?.epoch,
      lastEntryId: position?.entryId,
      keys: [{ generation: "g1", counters: [counter(1n, 0n, NOW_MS, "minute"), counter(6n, 1n)] }, undefined],
    });
    const entries = await limits.entriesAfter(SHARD, "0-0", 10);
    expect(entries.map(({ entryId, records }) => [entryId, records.length])).toEqual([[position?.entryId, 1]]);
    expect(await client.pttl(HASH)).toBeGreaterThan(2 * 24 * 60 * MINUTE_MS);
  });
});
