// Clients and adapters over a test's Redis, with the settings of a small deployment.
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Intake } from "../../src/app/ports/intake.ts";
import type { ShardStream } from "../../src/app/ports/shard-stream.ts";
import { limitPolicyOf } from "../../src/domain/limits.ts";
import { openBlockingRedis, openRedis, redisReady } from "../../src/redis/client.ts";
import { REDIS_INTAKE_LIMITS, type RedisIntakeOptions, redisIntake } from "../../src/redis/intake.ts";
import { redisShardStream } from "../../src/redis/stream.ts";
import { testCatalog } from "./catalog.ts";

export const TEST_SHARD_COUNT = 4;

/** A client that is ready. Its failures are its commands' to tell. */
export async function testRedis(url: string): Promise<Redis> {
  const client = openRedis({ url, name: "test", onError: () => {} });
  await redisReady(client, 5_000);
  return client;
}

export function testIntake(client: Redis, options: Partial<RedisIntakeOptions> = {}): Intake {
  return redisIntake({
    client,
    shardCount: TEST_SHARD_COUNT,
    duplicateWindowMs: 86_400_000,
    randomId: randomUUID,
    random: Math.random,
    limits: REDIS_INTAKE_LIMITS,
    waitReplicas: 0,
    waitReplicasTimeoutMs: 1_000,
    limitMeters: limitPolicyOf(testCatalog()).meters,
    nowMs: Date.now,
    onUncounted: () => {},
    onFailure: () => {},
    ...options,
  });
}

export function testStream(client: Redis, url: string, readRecords = 5_000): ShardStream {
  return redisShardStream({
    client,
    openReader: (shard) => openBlockingRedis({ url, name: `test-reader-${shard}`, onError: () => {} }),
    randomId: randomUUID,
    readRecords,
  });
}
