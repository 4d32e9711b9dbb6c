import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { claimStore, ForeignStoreError } from "../../../src/redis/ownership.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";

describeWithRedis("a Redis belongs to one deployment", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedis();
    client = new Redis(server.url);
  });
  afterAll(async () => {
    await client.quit();
    await server.close();
  });

  test("another deployment is refused, the same one is not, and an emptied store is anybody's", async () => {
    await claimStore(client, "deployment-a");
    await claimStore(client, "deployment-a");
    await expect(claimStore(client, "deployment-b")).rejects.toThrow(ForeignStoreError);
    await client.flushall();
    await claimStore(client, "deployment-b");
  });
});
