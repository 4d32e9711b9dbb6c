import type { Redis } from "ioredis";
import { afterAll, beforeAll, expect, it } from "vitest";
import { closeRedis } from "../../../src/redis/client.ts";
import { probeDurability } from "../../../src/redis/durability.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { testRedis } from "../../support/redis-client.ts";

describeWithRedis("a Redis's durability", () => {
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

  it("holds with an append-only file, fsynced always, and no eviction", async () => {
    expect(await probeDurability(client)).toEqual({ durable: true, reason: "" });
  });

  it.each([
    ["appendonly", "no", "appendonly is no, not yes"],
    ["appendfsync", "everysec", "appendfsync is everysec, not always"],
    ["appendfsync", "no", "appendfsync is no, not always"],
    ["no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite is yes, not no"],
    ["maxmemory-policy", "allkeys-lru", "maxmemory-policy is allkeys-lru, not noeviction"],
    ["maxmemory-policy", "volatile-ttl", "maxmemory-policy is volatile-ttl, not noeviction"],
  ])("does not hold with %s %s, and says so", async (name, value, reason) => {
    const [, before = ""] = (await client.config("GET", name)) as string[];
    await client.config("SET", name, value);
    const durability = await probeDurability(client);
    await client.config("SET", name, before);
    expect(durability).toEqual({ durable: false, reason: expect.stringContaining(reason) });
  });

  it("is unknown where the configuration cannot be read, and says so", async () => {
    await server.command("ACL", "SETUSER", "guest", "on", "nopass", "allkeys", "+@all", "-config");
    const guest = await testRedis(server.url.replace("//", "//guest:any@"));
    const reason = expect.stringMatching(/not known to be durable.*NOPERM/);
    expect(await probeDurability(guest)).toEqual({ durable: false, reason });
    await server.command("CONFIG", "SET", "appendonly", "no");
    expect((await probeDurability(guest)).reason).toContain("appendonly is no");
    await server.command("CONFIG", "SET", "appendonly", "yes");
    await closeRedis(guest);
  });
});
