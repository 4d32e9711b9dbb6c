import type { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from "vitest";
import { closeRedis, openBlockingRedis, openRedis, redisReady } from "../../../src/redis/client.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";

/** The event alone: unlike events.once, "error" is none of its business. */
function heard(client: Redis, event: string): Promise<void> {
  return new Promise((resolve) => client.once(event, () => resolve()));
}

describeWithRedis("a Redis client", () => {
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(() => server.resume());
  afterAll(() => server.close());

  async function open(commandTimeoutMs = 60_000): Promise<Redis> {
    const client = openRedis({ url: server.url, name: "under-test", commandTimeoutMs, onError: () => {} });
    onTestFinished(() => closeRedis(client));
    await redisReady(client, 5_000);
    return client;
  }

  const connections = async () => {
    const list = (await server.command("CLIENT", "LIST")) as string;
    return list.split("\n").filter((line) => line.includes("name=under-test")).length;
  };

  it("fails what is in flight when the connection breaks, and never sends it again", async () => {
    const client = await open();
    await client.set("counter", 0);
    server.pause();
    const inFlight = client.incr("counter");
    const failed = expect(inFlight).rejects.toThrow();
    await server.kill();
    await failed;
    await server.start();
    await redisReady(client, 5_000);
    expect(await client.get("counter")).toBe("0");
  });

  it("fails at once while the server is away, and comes back by itself", async () => {
    const client = await open();
    await server.kill();
    if (client.status === "ready") await heard(client, "close");
    const from = performance.now();
    await expect(client.ping()).rejects.toThrow();
    expect(performance.now() - from).toBeLessThan(1_000);
    await server.start();
    await redisReady(client, 5_000);
    expect(await client.ping()).toBe("PONG");
  });

  it("gives up on a server that is silent, and on the connection", async () => {
    const client = await open(200);
    server.pause();
    const cut = heard(client, "close");
    await expect(client.ping()).rejects.toThrow("timed out");
    await cut;
    server.resume();
    await redisReady(client, 5_000);
    expect(await client.ping()).toBe("PONG");
  });

  it("says why a server cannot be reached", async () => {
    const client = openRedis({ url: "redis://127.0.0.1:1", name: "under-test", onError: () => {} });
    onTestFinished(() => closeRedis(client));
    const failure = await redisReady(client, 300).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message: "Redis cannot be reached",
      cause: expect.objectContaining({ code: "ECONNREFUSED" }),
    });
  });

  it("leaves no connection behind, may be closed twice, and when the server is away", async () => {
    const [first, second] = [await open(), await open()];
    expect(await connections()).toBeGreaterThanOrEqual(2);
    await Promise.all([first, second, first].map(closeRedis));
    await closeRedis(first);
    expect(await connections()).toBe(0);
    await expect(first.ping()).rejects.toThrow();
    const third = await open();
    await server.kill();
    await closeRedis(third);
    await server.start();
  });

  it("for blocking commands does not come back", async () => {
    const client = openBlockingRedis({ url: server.url, name: "under-test", onError: () => {} });
    await client.connect();
    const ended = heard(client, "end");
    await server.kill();
    await ended;
    await server.start();
    await expect(client.ping()).rejects.toThrow("Connection is closed");
  });
});
