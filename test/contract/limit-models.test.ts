// The simulation's model of limits in Redis says what the scripts say: the same operations, drawn from a seed, on both. Compared after each: what
// was answered, and what the hashes hold.
import type { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { intakeLimitsPort } from "../../simulation/core/limit-ports.ts";
import { Machine } from "../../simulation/core/machine.ts";
import { ModelRedis } from "../../simulation/core/model/redis.ts";
import { redisClient } from "../../simulation/core/ports.ts";
import { Scheduler } from "../../simulation/core/scheduler.ts";
import type { Wire } from "../../simulation/core/wire.ts";
import { Random } from "../../simulation/random.ts";
import type { IntakeLimits } from "../../src/app/ports/limits.ts";
import type { WindowCounter } from "../../src/domain/limit-counters.ts";
import { LIMIT_WINDOWS, limitWindowAt } from "../../src/domain/limits.ts";
import { shardOf } from "../../src/domain/shard.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import { closeRedis } from "../../src/redis/client.ts";
import { REDIS_INTAKE_LIMITS } from "../../src/redis/intake.ts";
import { limitKey } from "../../src/redis/keys.ts";
import { runLimitBegin } from "../../src/redis/limit-scripts.ts";
import { redisLimits } from "../../src/redis/limits.ts";
import { usageRecord } from "../support/records.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../support/redis.ts";
import { testIntake, testRedis } from "../support/redis-client.ts";
import { pickSeed } from "../support/seed.ts";

const OPERATIONS = 250;
const MINUTE_MS = 60_000;
const ORIGIN_MS = Date.UTC(2026, 2, 3, 23, 55);
const CUSTOMER = "cus_0";
const KEYS = ["a", "b"].map((apiKeyId) => ({ customerId: CUSTOMER, apiKeyId }));
const SHARDS = 4;
const SHARD = shardOf(CUSTOMER, SHARDS);
/** Full after some records, so that this is seen too. */
const ENTRIES_MAX = 60;

interface Side {
  record(records: readonly UsageRecord[]): Promise<unknown>;
  readonly limits: IntakeLimits;
  forget(apiKeyId: string): Promise<void>;
  /** What the last beginning was told. */
  begunAfter: string;
}

describeWithRedis("models and scripts of limits", () => {
  let server: RedisServer;
  let client: Redis;
  let nowMs = ORIGIN_MS;

  beforeAll(async () => {
    server = await startRedis();
    client = await testRedis(server.url);
  });
  afterAll(async () => {
    await closeRedis(client);
    await server.close();
  });

  const side = (over: Redis, limits: IntakeLimits, forget: Side["forget"]): Side => {
    const options = { nowMs: () => nowMs, limits: { ...REDIS_INTAKE_LIMITS, streamEntries: ENTRIES_MAX } };
    const intake = testIntake(over, options);
    return {
      limits,
      forget,
      begunAfter: "",
      record: async (records) =>
        (await intake.record(records)).map((result) =>
          "error" in result ? result.error.failure.kind : [result.outcome, result.usage],
        ),
    };
  };
  const hashOf = (apiKeyId: string) => limitKey(SHARD, CUSTOMER, apiKeyId);
  const ids = { shardCount: SHARDS, nowMs: () => nowMs, randomId: () => "an epoch" };
  const realSide = (): Side => {
    const limits: IntakeLimits = {
      ...redisLimits({ client, ...ids }),
      // Nothing is given up, however long the test is kept waiting.
      async begin(shard, keys, generation) {
        const settings = { shard, epochCandidate: ids.randomId(), generation, givenUpMs: 1_000_000_000 };
        const hashes = keys.map(({ apiKeyId, replacing }) => ({ hash: hashOf(apiKeyId), replaced: replacing ?? "" }));
        const { states, ...begun } = await runLimitBegin(client, settings, hashes);
        return { ...begun, begun: [...states].map((state) => state === "1") };
      },
    };
    return side(client, limits, async (apiKeyId) => void (await client.del(hashOf(apiKeyId))));
  };
  const modelSide = (): Side => {
    // The clock of its store stands still: nothing is given up here either.
    const redis = new ModelRedis(() => ORIGIN_MS, { appended() {}, lost() {} });
    const straight = async <T>(effect: () => T) => effect();
    const wire = { call: (_: Machine, effect: () => unknown) => straight(effect) } as unknown as Wire;
    const machine = new Machine("model", new Scheduler(ORIGIN_MS, new Random(1, "")), { offsetMs: 0, rate: 1 });
    const limits = intakeLimitsPort(straight, { redis, ...ids });
    return side(redisClient(machine, wire, redis), limits, async (apiKeyId) => redis.forgetLimits(hashOf(apiKeyId)));
  };

  test("they answer the same, and hold the same", { timeout: 120_000 }, async () => {
    const seed = pickSeed();
    const seen = new Set<string>();
    for (const drawn of [1, 2, seed, seed + 1]) {
      await client.flushall();
      nowMs = ORIGIN_MS;
      const random = new Random(drawn, "limits");
      const [real, model] = [realSide(), modelSide()];
      const sent: UsageRecord[] = [];
      for (let step = 0; step < OPERATIONS; step += 1) {
        if (random.chance(0.1)) nowMs += random.whole(1, 90) * 1_000;
        const operation = drawOperation(random, sent, step, nowMs);
        const expected = await operation(real);
        const again = `SEED=${drawn}, step ${step}`;
        expect(await operation(model), again).toEqual(expected);
        expect(await model.limits.read(KEYS), again).toEqual(await real.limits.read(KEYS));
        expect((await model.limits.look(SHARD, KEYS)).keys, again).toEqual((await real.limits.look(SHARD, KEYS)).keys);
        for (const word of JSON.stringify(expected ?? "", (_, v) => (typeof v === "bigint" ? `${v}` : v)).match(
          /\w+/g,
        ) ?? [])
          seen.add(word);
      }
    }
    // Else they agree about little.
    for (const word of ["recorded", "duplicate", "idempotency_key_reused", "intake_full", "true", "false", "minute"])
      expect([...seen]).toContain(word);
  });
});

type Operation = (side: Side) => Promise<unknown>;

function drawOperation(random: Random, sent: UsageRecord[], step: number, nowMs: number): Operation {
  const key = random.pick(KEYS);
  const generation = `g${random.whole(0, 3)}`;
  const counters: WindowCounter[] = LIMIT_WINDOWS.map((window) => {
    const atMs = nowMs + random.whole(-3, 3) * MINUTE_MS;
    const [used, voided] = [random.whole(50, 200), random.whole(0, 120)].map(BigInt) as [bigint, bigint];
    return { window, windowStartMs: limitWindowAt(window, atMs).startMs, used, voided };
  });
  const unit = random.unit();
  if (unit < 0.55) {
    const records = Array.from({ length: random.whole(1, 4) }, () => drawRecord(random, sent, nowMs));
    return (side) => side.record(records);
  }
  if (unit < 0.7) {
    const replacing = random.chance(0.5) ? generation : undefined;
    return async (side) => {
      const { lastEntryId, begun } = await side.limits.begin(SHARD, [{ ...key, replacing }], `g${step % 4}`);
      side.begunAfter = lastEntryId;
      return begun;
    };
  }
  const generations = random.chance(0.8) ? ["g0", "g1", "g2", "g3"] : [generation];
  if (unit < 0.85)
    return async ({ limits, begunAfter: lastEntryId }) => {
      // Of whatever generation stands there, mostly; and not always after the entry after which this key was begun.
      const epoch = (await limits.look(SHARD, [])).epoch;
      const done: boolean[] = [];
      for (const g of generations)
        done.push(await limits.complete(SHARD, key, { epoch, generation: g, lastEntryId }, counters));
      return done;
    };
  if (unit < 0.95)
    return async ({ limits }) => {
      for (const g of ["g0", "g1", "g2", "g3"]) await limits.raiseVoided(SHARD, key, g, counters);
    };
  return (side) => side.forget(key.apiKeyId);
}

function drawRecord(random: Random, sent: UsageRecord[], nowMs: number): UsageRecord {
  if (sent.length > 0 && random.chance(0.25)) return random.pick(sent);
  const idempotencyKey = random.chance(0.1) && sent.length > 0 ? random.pick(sent).idempotencyKey : undefined;
  const record = usageRecord({
    customerId: CUSTOMER,
    apiKeyId: random.pick(["", "a", "b"]),
    eventTimeMs: nowMs + random.whole(-9, 5) * MINUTE_MS,
    measurements: { input_tokens: BigInt(random.whole(0, 9)) },
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  });
  sent.push(record);
  return record;
}
