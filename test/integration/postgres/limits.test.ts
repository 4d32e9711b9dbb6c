// Counters of limits in the ledger, against sums worked out here from the same records.
import { expect, onTestFinished, test } from "vitest";
import { compareLimits } from "../../../src/app/compare-limits.ts";
import type { LedgerDrift } from "../../../src/app/ports/limits.ts";
import { countedQuantity, type KeyRef, limitPolicyOf, limitWindowAt } from "../../../src/domain/limits.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { DELETED_KEYS_KEPT_MS, forgetDeletedKeys, postgresApiKeys } from "../../../src/postgres/api-keys.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { postgresLimitCounters, postgresLimitLedger } from "../../../src/postgres/limit-ledger.ts";
import { makePartitions } from "../../../src/postgres/partitions.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { SYSTEM_CLOCK } from "../../../src/process/system-clock.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";

const SHARDS = 3;
const MINUTE_MS = 60_000;
const METERS = limitPolicyOf(testCatalog()).meters;

async function open() {
  const { pool, close } = await createTestDatabase();
  onTestFinished(() => close());
  await openDeployment(pool, SHARDS, "postgres");
  const nowMs = Date.now();
  await makePartitions(pool, nowMs);
  const catalog = testCatalog();
  const ledger = postgresLedger(pool, catalog, SHARDS);
  const keys = postgresApiKeys(pool, catalog, SHARDS);
  const define = (key: KeyRef) =>
    keys.create({ ...key, name: "", tier: "", tokensPerMinute: 100n, tokensPerDay: 1_000n, disabled: false });
  return {
    pool,
    nowMs,
    ledger,
    keys,
    define,
    voids: postgresVoids(pool, catalog, SHARDS),
    limits: postgresLimitLedger(pool, catalog, SHARDS),
    usage: async (key: KeyRef, atMs = nowMs) => (await postgresLimitCounters(pool, () => atMs).read([key]))[0],
  };
}

/** By the records that count, in the minute and the day of `atMs`. */
function expected(records: Iterable<UsageRecord>, key: KeyRef, atMs: number) {
  const sums = { minute: 0n, day: 0n };
  for (const record of records) {
    if (record.customerId !== key.customerId || record.apiKeyId !== key.apiKeyId) continue;
    for (const window of ["minute", "day"] as const)
      if (limitWindowAt(window, record.eventTimeMs).startMs === limitWindowAt(window, atMs).startMs)
        sums[window] += countedQuantity(record, METERS);
  }
  return sums;
}

test("whatever is recorded, repeated, contradicted and voided at the same time, counters equal the ledger", {
  timeout: 120_000,
}, async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const { ledger, define, voids, limits, usage, nowMs } = await open();
  const key = (n: number): KeyRef => ({ customerId: `cus_${n % 3}`, apiKeyId: `key_${n % 4}` });
  const early = [0, 5, 10].map(key);
  for (const one of early) await define(one);
  const counted = new Map<string, UsageRecord>();
  for (let round = 0; round < 12; round += 1) {
    // Halfway some keys more are defined: what they used before counts too.
    if (round === 6) for (const one of [1, 6, 11].map(key)) await define(one);
    const calls = Array.from({ length: 4 }, () =>
      Array.from({ length: 1 + below(6) }, () => {
        const { customerId, apiKeyId } = key(below(12));
        const eventTimeMs = nowMs - below(4) * MINUTE_MS + below(MINUTE_MS);
        const measurements = { input_tokens: BigInt(below(50)), output_tokens: BigInt(below(9)) };
        return usageRecord({ customerId, apiKeyId, idempotencyKey: `k${below(60)}`, eventTimeMs, measurements });
      }),
    );
    await Promise.all(
      calls.map(async (records) => {
        const { outcomes } = await applied(ledger.apply(records, undefined));
        for (const [i, record] of records.entries())
          if (outcomes[i] === "applied") counted.set(`${record.customerId} ${record.idempotencyKey}`, record);
      }),
    );
    const victim = [...counted.values()][below(counted.size)];
    if (victim !== undefined && round % 3 === 2) {
      await voids.voidRecord({ ...victim, reason: "test" });
      counted.delete(`${victim.customerId} ${victim.idempotencyKey}`);
    }
  }
  for (const n of [0, 5, 10, 1, 6, 11]) {
    for (const atMs of [nowMs, nowMs - MINUTE_MS])
      expect(await usage(key(n), atMs), `SEED=${seed}, ${JSON.stringify(key(n))}`).toMatchObject(
        expected(counted.values(), key(n), atMs),
      );
  }
  expect(await usage(key(2))).toBeUndefined();
  expect((await limits.compare(undefined, 100, nowMs)).drifts, `SEED=${seed}`).toEqual([]);
});

test("a counter that is off is found by the comparison, and set right", async () => {
  const { pool, ledger, define, limits, usage, nowMs } = await open();
  const key = { customerId: "cus_1", apiKeyId: "k" };
  await define(key);
  await ledger.apply([usageRecord({ ...key, eventTimeMs: nowMs, measurements: { input_tokens: 7n } })], undefined);
  await pool.query("UPDATE limit_counter SET used = used + 3");
  const drifts: LedgerDrift[] = [];
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const clock = { ...SYSTEM_CLOCK, nowMs: () => nowMs };
  await compareLimits(
    { ledger: limits, clock, logger, onDrift: (drift) => drifts.push(drift) },
    { mayBegin: () => true },
  );
  expect(drifts.map(({ window, counted, recorded }) => [window, counted, recorded]).sort()).toEqual([
    ["day", 10n, 7n],
    ["minute", 10n, 7n],
  ]);
  expect(await usage(key)).toMatchObject({ minute: 7n, day: 7n });
  expect((await limits.compare(undefined, 100, nowMs)).drifts).toEqual([]);
});

test("definitions: an equal repeat, another definition, changes in their order, and a deletion that is heard of", async () => {
  const { keys, define } = await open();
  const key = { customerId: "cus_1", apiKeyId: "k" };
  expect((await define(key)).kind).toBe("created");
  expect((await define(key)).kind).toBe("exists");
  await keys.update(key, { tokensPerDay: undefined, name: "mine" });
  expect(await keys.get(key)).toMatchObject({ name: "mine", tokensPerDay: undefined, tokensPerMinute: 100n });
  const seen = await keys.changesSince(0n, 10);
  expect(seen.map(({ key: one }) => one?.name)).toEqual(["mine"]);
  expect([await keys.delete(key), await keys.delete(key)]).toEqual([true, false]);
  const later = await keys.changesSince(seen[0]?.revision ?? 0n, 10);
  expect(later.map(({ apiKeyId, key: one }) => [apiKeyId, one])).toEqual([["k", undefined]]);
  expect(await keys.list(undefined, undefined, 10)).toEqual([]);
});

test("a deleted key is remembered for those who follow the changes, and then forgotten", async () => {
  const { pool, keys, define } = await open();
  await define({ customerId: "cus_1", apiKeyId: "gone" });
  await define({ customerId: "cus_1", apiKeyId: "stays" });
  await keys.delete({ customerId: "cus_1", apiKeyId: "gone" });
  const known = async () => (await keys.changesSince(0n, 10)).map(({ apiKeyId }) => apiKeyId).sort();
  await forgetDeletedKeys(pool, Date.now());
  expect(await known()).toEqual(["gone", "stays"]);
  await forgetDeletedKeys(pool, Date.now() + DELETED_KEYS_KEPT_MS + 60_000);
  expect(await known()).toEqual(["stays"]);
});

async function applied(applying: ReturnType<ReturnType<typeof postgresLedger>["apply"]>) {
  const result = await applying;
  if (result.kind !== "applied") throw new Error("the cursor moved");
  return result;
}
