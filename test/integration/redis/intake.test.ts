import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { IntakeResult } from "../../../src/app/ports/intake.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { closeRedis } from "../../../src/redis/client.ts";
import { REDIS_INTAKE_LIMITS } from "../../../src/redis/intake.ts";
import { outcomes } from "../../contract/intake.ts";
import { usageRecord } from "../../support/records.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { TEST_SHARD_COUNT, testIntake, testRedis } from "../../support/redis-client.ts";
import { storedRecords } from "../../support/redis-records.ts";

describeWithRedis("the intake over Redis", () => {
  let server: RedisServer;
  let client: Redis;

  beforeAll(async () => {
    server = await startRedis();
    client = await testRedis(server.url);
  });
  beforeEach(() => client.flushall());
  afterAll(async () => {
    await closeRedis(client);
    await server.close();
  });

  const position = (result: IntakeResult | undefined) =>
    result !== undefined && "outcome" in result ? result.position : undefined;

  it("says where a record is, and where a duplicate's is at the latest", async () => {
    const intake = testIntake(client);
    const shard = shardOf("cus_test", TEST_SHARD_COUNT);
    const record = usageRecord();
    const [first] = await intake.record([record]);
    const [second] = await intake.record([usageRecord()]);
    const [duplicate] = await intake.record([record]);
    const ids = (await client.xrange(`metering:{${shard}}:stream`, "-", "+")).map(([id]) => id);
    const epoch = await client.hget(`metering:{${shard}}:head`, "epoch");
    expect(position(first)).toEqual({ shard, epoch, entryId: ids[0] });
    expect(position(second)).toEqual({ shard, epoch, entryId: ids[1] });
    expect(position(duplicate)).toEqual({ shard, epoch, entryId: ids[1] });
  });

  it("is full when the ledger is too far behind, and stores nothing then", async () => {
    const intake = testIntake(client, { limits: { ...REDIS_INTAKE_LIMITS, streamEntries: 2 } });
    const records = [usageRecord(), usageRecord(), usageRecord()];
    const ended = [];
    for (const record of records) ended.push(...(await outcomes(intake, [record])));
    expect(ended).toEqual(["recorded", "recorded", "intake_full"]);
    expect(await outcomes(intake, records)).toEqual(["duplicate", "duplicate", "intake_full"]);
    expect(await storedRecords(client, TEST_SHARD_COUNT)).toHaveLength(2);
  });

  it("is full when Redis' memory is, says why once an outage, and takes the same record later", async () => {
    const causes: unknown[] = [];
    const intake = testIntake(client, { onFailure: (cause) => causes.push(cause) });
    const record = usageRecord();
    const outage = async () => {
      await client.config("SET", "maxmemory", "1");
      const ended = [await outcomes(intake, [record]), await outcomes(intake, [record])].flat();
      await client.config("SET", "maxmemory", "0");
      return ended;
    };
    expect(await outage()).toEqual(["intake_full", "intake_full"]);
    expect(causes).toEqual([expect.objectContaining({ message: expect.stringMatching(/^OOM/) })]);
    expect(await outcomes(intake, [usageRecord()])).toEqual(["recorded"]);
    expect(await outage()).toEqual(["intake_full", "intake_full"]);
    expect(causes).toHaveLength(2);
    expect(await outcomes(intake, [record])).toEqual(["recorded"]);
    expect(await storedRecords(client, TEST_SHARD_COUNT)).toHaveLength(2);
  });

  it("commits a call's records of a shard in batches of at most the limit", async () => {
    const intake = testIntake(client, { limits: { ...REDIS_INTAKE_LIMITS, batchRecords: 3 } });
    expect(
      await outcomes(
        intake,
        Array.from({ length: 8 }, () => usageRecord()),
      ),
    ).toEqual(Array(8).fill("recorded"));
    const shard = shardOf("cus_test", TEST_SHARD_COUNT);
    const entries = await client.xrange(`metering:{${shard}}:stream`, "-", "+");
    expect(entries.map(([, fields]) => fields.at(-1)?.split("\n").length)).toEqual([3, 3, 2]);
  });
});
