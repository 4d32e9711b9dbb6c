import { expect, test } from "vitest";
import { keyId } from "../../src/domain/limits.ts";
import { postgresApiKeys } from "../../src/postgres/api-keys.ts";
import { openDeployment } from "../../src/postgres/deployment.ts";
import { postgresIntake } from "../../src/postgres/intake.ts";
import { postgresLedger } from "../../src/postgres/ledger.ts";
import { postgresLimitCounters, postgresLimitLedger } from "../../src/postgres/limit-ledger.ts";
import { makePartitions } from "../../src/postgres/partitions.ts";
import { postgresVoids } from "../../src/postgres/void.ts";
import { testCatalog } from "../support/catalog.ts";
import { useTestDatabase } from "../support/postgres.ts";
import { pickSeed } from "../support/seed.ts";
import { beforeMidnight, type CountersUnderTest, playCounters } from "./limit-counters.ts";

const SHARDS = 3;

async function open(): Promise<CountersUnderTest> {
  const { pool } = await useTestDatabase();
  await openDeployment(pool, SHARDS, "postgres");
  const catalog = testCatalog();
  const keys = postgresApiKeys(pool, catalog, SHARDS);
  const voids = postgresVoids(pool, catalog, SHARDS);
  const defined = new Set<string>();
  const counters = postgresLimitCounters(pool, () => subject.nowMs);
  const intake = () =>
    postgresIntake(postgresLedger(pool, catalog, SHARDS), {
      maxBatch: 1_000,
      maxWaiting: 1_000,
      onFailure: () => {},
      async usages(records) {
        const known = [...new Map(records.map((one) => [keyId(one), one])).values()].filter((one) =>
          defined.has(keyId(one)),
        );
        const usages = await counters.read(known);
        const byKey = new Map(known.map((one, i) => [keyId(one), usages[i]]));
        return records.map((one) => byKey.get(keyId(one)));
      },
    });
  const subject: CountersUnderTest = {
    nowMs: beforeMidnight(),
    replicas: [intake(), intake()],
    async define(key) {
      const limits = { tier: "", tokensPerMinute: 100n, tokensPerDay: 1_000n };
      await keys.create({ ...key, ...limits, name: "", disabled: false });
      defined.add(keyId(key));
    },
    read: async (key) => (await counters.read([key]))[0],
    voidRecord: async (record) => (await voids.voidRecord({ ...record, reason: "test" })).kind !== "not_found",
    async disturb() {},
    interrupt: async () => false,
    settle: async () =>
      (await postgresLimitLedger(pool, catalog, SHARDS).compare(undefined, 100, subject.nowMs)).drifts.length,
  };
  await makePartitions(pool, subject.nowMs);
  return subject;
}

test("with Postgres intake keys are never told to have used less than was acknowledged, and in the end what the ledger says", {
  timeout: 300_000,
}, async () => {
  const seed = pickSeed();
  let told = 0;
  for (let i = 0; i < 3; i += 1) told += await playCounters(await open(), seed + i);
  expect(told).toBeGreaterThan(10);
});
