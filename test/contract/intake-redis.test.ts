import type { Redis } from "ioredis";
import { afterAll, beforeAll } from "vitest";
import { closeRedis, redisReady } from "../../src/redis/client.ts";
import { REDIS_INTAKE_LIMITS } from "../../src/redis/intake.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../support/redis.ts";
import { TEST_SHARD_COUNT, testIntake, testRedis } from "../support/redis-client.ts";
import { storedRecords } from "../support/redis-records.ts";
import { intakeContract } from "./intake.ts";

describeWithRedis("intake over Redis", () => {
  let server: RedisServer;
  let client: Redis;

  beforeAll(async () => {
    server = await startRedis();
    client = await testRedis(server.url);
  });
  afterAll(async () => {
    await closeRedis(client);
    await server.close();
  });

  intakeContract(() => ({
    open: (waitingRecords) => testIntake(client, { limits: { ...REDIS_INTAKE_LIMITS, waitingRecords } }),
    async storedTimes(customerId, idempotencyKey) {
      const records = await storedRecords(client, TEST_SHARD_COUNT);
      return records.filter((r) => r.customerId === customerId && r.idempotencyKey === idempotencyKey).length;
    },
    kill: () => server.kill(),
    async start() {
      await server.start();
      await redisReady(client, 5_000);
    },
  }));
});
