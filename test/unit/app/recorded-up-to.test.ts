import { expect, test } from "vitest";
import type { LedgerSnapshot } from "../../../src/app/ports/limits.ts";
import type { StreamEntry } from "../../../src/app/ports/shard-stream.ts";
import { recordedUpTo, SUMMED_RECORDS_MAX } from "../../../src/app/recorded-up-to.ts";
import { type SeedLimitsDependencies, seedLimits } from "../../../src/app/seed-limits.ts";
import { testClock } from "../../support/clock.ts";
import { usageRecord } from "../../support/records.ts";

const DAY_START_MS = Date.UTC(2026, 2, 3);
const KEY = { customerId: "cus_1", apiKeyId: "key_1" };
const OTHER = { customerId: "cus_1", apiKeyId: "key_2" };
const POINT = { shard: 0, epoch: "e", entryId: "3-0" };

const entry = (n: number, quantity: bigint, fields: Partial<StreamEntry> = {}): StreamEntry => {
  const measurements = { input_tokens: quantity };
  const records = [usageRecord({ ...KEY, eventTimeMs: DAY_START_MS, measurements })];
  return { entryId: `${n}-0`, previousEntryId: `${n - 1}-0`, epoch: "e", records, ...fields };
};
const counter = (used: bigint, voided = 0n) => ({ window: "day", windowStartMs: DAY_START_MS, used, voided }) as const;
const snapshot = (cursor: string, fields: Partial<LedgerSnapshot> = {}): LedgerSnapshot => {
  return { epoch: "e", cursor, counters: [[counter(1_000n, 7n)]], ...fields };
};
const over = (told: LedgerSnapshot, entries: readonly StreamEntry[]) => ({
  ledger: { snapshot: async () => told },
  intake: {
    entriesAfter: async (_: number, after: string, limit: number) =>
      entries.filter(({ entryId }) => Number.parseInt(entryId, 10) > Number.parseInt(after, 10)).slice(0, limit),
  },
  meters: ["input_tokens"],
});
const dayOf = async (told: LedgerSnapshot, entries: readonly StreamEntry[], keys = [KEY]) => {
  const found = await recordedUpTo(over(told, entries), POINT, keys);
  if (found.kind !== "counted") return found.kind;
  return found.counters.map((counters) => counters?.find(({ window }) => window === "day"));
};
const ENTRIES = [entry(1, 1n), entry(2, 2n), entry(3, 4n), entry(4, 8n)];

test("what the ledger has and what waits after its cursor, up to the point and no further", async () => {
  expect(await dayOf(snapshot("1-0"), ENTRIES)).toEqual([counter(1_006n, 7n)]);
  expect(await dayOf(snapshot("3-0"), ENTRIES)).toEqual([counter(1_000n, 7n)]);
  expect(await dayOf(snapshot("3-0"), [])).toEqual([counter(1_000n, 7n)]);
});

test("each key by itself, and none that is not defined", async () => {
  const told = snapshot("1-0", { counters: [[counter(1n)], undefined] });
  expect(await dayOf(told, ENTRIES, [OTHER, KEY])).toEqual([counter(1n), undefined]);
});

test("a ledger that has applied more than the point is ahead", async () => {
  expect(await dayOf(snapshot("4-0"), ENTRIES)).toBe("ahead");
});

test("a ledger that follows another stream, or entries that were trimmed meanwhile, are asked for again", async () => {
  expect(await dayOf(snapshot("1-0", { epoch: "before" }), ENTRIES)).toBe("behind");
  expect(await dayOf(snapshot("1-0"), ENTRIES.slice(2))).toBe("behind");
  expect(await dayOf(snapshot("1-0"), ENTRIES.slice(0, 2))).toBe("behind");
  expect(await dayOf(snapshot("0-0"), [entry(1, 1n, { epoch: "before" }), ...ENTRIES.slice(1)])).toBe("behind");
});

test("a ledger that is further behind than is worth summing is waited for", async () => {
  const [one] = ENTRIES.flatMap(({ records }) => records);
  const many = Array.from({ length: SUMMED_RECORDS_MAX + 1 }, () => one ?? usageRecord());
  // Of pages of ten entries.
  const entries = Array.from({ length: 20 }, (_, i) => entry(i + 1, 1n, i === 5 ? { records: many } : {}));
  const found = await recordedUpTo(over(snapshot("0-0"), entries), { ...POINT, entryId: "15-0" }, [KEY]);
  expect(found.kind).toBe("behind");
});

test("seeding begins anew under its own generation while the ledger is ahead, and completes what it began last", async () => {
  const calls: unknown[] = [];
  let ids = 0;
  let lastEntryId = 0;
  const deps: SeedLimitsDependencies = {
    ...over(snapshot("3-0"), []),
    clock: testClock(),
    randomId: () => `g${++ids}`,
    intake: {
      async begin(_, keys, generation) {
        calls.push([generation, keys.map(({ replacing }) => replacing)]);
        lastEntryId += 1;
        return { epoch: "e", lastEntryId: `${lastEntryId}-0`, begun: keys.map(() => true) };
      },
      entriesAfter: async () => [],
      async complete(_, key, begun, counters) {
        calls.push([key, begun, counters]);
        return true;
      },
    },
  };
  expect(await seedLimits(deps, 0, [KEY])).toBe(true);
  const replacing = (generation?: string) => ({
    ...KEY,
    ...(generation === undefined ? {} : { replacing: generation }),
  });
  expect(calls).toEqual([
    ["g1", [undefined]],
    ["g2", ["g1"]],
    ["g3", ["g2"]],
    [replacing("g2"), { epoch: "e", generation: "g3", lastEntryId: `${lastEntryId}-0` }, [counter(1_000n, 7n)]],
  ]);
});
