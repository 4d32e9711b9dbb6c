import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { ShardStream } from "../../../src/app/ports/shard-stream.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { closeRedis, redisReady } from "../../../src/redis/client.ts";
import { usageRecord } from "../../support/records.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { TEST_SHARD_COUNT, testIntake, testRedis, testStream } from "../../support/redis-client.ts";

describeWithRedis("a shard's stream", () => {
  const shard = shardOf("cus_test", TEST_SHARD_COUNT);
  let server: RedisServer;
  let client: Redis;
  let stream: ShardStream;

  beforeAll(async () => {
    server = await startRedis();
    client = await testRedis(server.url);
  });
  beforeEach(async () => {
    await client.flushall();
    stream = testStream(client, server.url);
  });
  afterAll(async () => {
    await closeRedis(client);
    await server.close();
  });

  const readers = async () => {
    const list = (await client.client("LIST")) as string;
    return list.split("\n").filter((line) => line.includes("name=test-reader")).length;
  };

  it("gives back what was recorded, in order, and only what is after the cursor", async () => {
    const intake = testIntake(client);
    const records = [
      usageRecord({ labels: { team: "ü" } }),
      usageRecord({ measurements: { input_tokens: 10n ** 12n } }),
    ];
    for (const record of records) await intake.record([record]);
    const abort = new AbortController();
    const all = await stream.read(shard, "0-0", abort.signal);
    expect(all.map((entry) => entry.records)).toEqual(records.map((record) => [record]));
    expect(all.map((entry) => entry.previousEntryId)).toEqual(["0-0", all[0]?.entryId]);
    const { epoch, lastEntryId, entryCount } = await stream.state(shard);
    expect([epoch, lastEntryId, entryCount]).toEqual([all[1]?.epoch, all[1]?.entryId, 2]);
    expect(await stream.read(shard, all[0]?.entryId ?? "", abort.signal)).toEqual(all.slice(1));
    abort.abort();
  });

  it("wakes a waiting read when something is recorded", async () => {
    const abort = new AbortController();
    const reading = stream.read(shard, "0-0", abort.signal);
    while ((await readers()) === 0);
    await testIntake(client).record([usageRecord()]);
    expect(await reading).toHaveLength(1);
    abort.abort();
  });

  it("ends a waiting read with nothing after a second, and at once when aborted, connection and all", async () => {
    const abort = new AbortController();
    expect(await stream.read(shard, "0-0", abort.signal)).toEqual([]);
    const reading = stream.read(shard, "0-0", abort.signal);
    const from = performance.now();
    abort.abort();
    expect(await reading).toEqual([]);
    expect(performance.now() - from).toBeLessThan(500);
    while ((await readers()) > 0);
    expect(await stream.read(shard, "0-0", abort.signal)).toEqual([]);
    expect(await readers()).toBe(0);
  });

  it("reads no more at once than asked for, whatever the entries' size, and loses none", async () => {
    const bounded = testStream(client, server.url, 100);
    const intake = testIntake(client);
    const sizes = [1, 1, 1, 60, 60, 60, 1, 1, 250, ...Array(150).fill(1)] as number[];
    for (const size of sizes) await intake.record(Array.from({ length: size }, () => usageRecord()));
    const abort = new AbortController();
    const read: number[] = [];
    for (let cursor = "0-0"; read.length < sizes.length; ) {
      const entries = await bounded.read(shard, cursor, abort.signal);
      const counts = entries.map((entry) => entry.records.length);
      // Without its last entry a read is always under the bound.
      expect(counts.slice(0, -1).reduce((sum, count) => sum + count, 0)).toBeLessThan(100);
      read.push(...counts);
      cursor = entries.at(-1)?.entryId ?? cursor;
    }
    expect(read).toEqual(sizes);
    abort.abort();
  });

  it("fails a read when the server dies, and the next one works", async () => {
    const abort = new AbortController();
    await stream.read(shard, "0-0", abort.signal);
    const reading = stream.read(shard, "0-0", abort.signal);
    const failed = expect(reading).rejects.toThrow();
    await server.kill();
    await failed;
    await expect(stream.read(shard, "0-0", abort.signal)).rejects.toThrow();
    await server.start();
    await redisReady(client, 5_000);
    await testIntake(client).record([usageRecord()]);
    expect(await stream.read(shard, "0-0", abort.signal)).toHaveLength(1);
    abort.abort();
  });
});
