// Recut against a real Postgres: whenever a boundary becomes known, the ledger ends as if it had always been known.
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";

const SHARDS = 4;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const QUARTER_HOUR = 15 * MINUTE;
const DAY = 96 * QUARTER_HOUR;
/** A UTC midnight; windows around it exercise the change of day as well. */
const MIDNIGHT = Date.UTC(2026, 9, 12);

const warnings: object[] = [];
const logger = {
  debug() {},
  info() {},
  warn(fields: object) {
    warnings.push(fields);
  },
  error() {},
};

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
});
afterAll(() => database.close());

let customers = 0;
const newCustomer = () => `cus_recut${customers++}`;

function ledgerOf(catalog: MeterCatalog = testCatalog()) {
  return postgresLedger(database.pool, catalog, SHARDS);
}

/** Learns of boundaries as the webhook worker does: from a subscription. */
async function learn(customerId: string, boundariesMs: readonly number[], catalog = testCatalog()): Promise<void> {
  const accounts = postgresAccounts(database.pool, { catalog, shardCount: SHARDS, logger }, "flush");
  const state = {
    subscriptionId: `sub_${customerId}`,
    stripeCustomerId: customerId,
    status: "active",
    currentPeriod: undefined,
    boundariesMs: [...boundariesMs].sort((a, b) => a - b),
  };
  await accounts.exclusively(state.subscriptionId, (writer) => writer.saveSubscription(state));
}

async function rollupsOf(customerId: string, table: "rollup_quarter_hour" | "rollup_day") {
  const result = await database.pool.query(
    `SELECT to_char(window_start AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS start, meter, api_key_id, labels, quantity, record_count
     FROM ${table} r JOIN series s USING (customer_id, series_id)
     WHERE r.customer_id = $1 ORDER BY window_start, meter, api_key_id, labels`,
    [customerId],
  );
  return result.rows;
}

/** Rows that hold something: a first piece that was left empty stays for the sake of what was reported under it. */
async function pendingOf(customerId: string) {
  const result = await database.pool.query(
    `SELECT to_char(window_start AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS start, event_name,
       extract(epoch FROM window_end - window_start)::integer AS seconds, total
     FROM pending_window WHERE customer_id = $1 AND total <> 0 ORDER BY window_start, event_name`,
    [customerId],
  );
  return result.rows;
}

async function everythingOf(customerId: string) {
  return {
    quarterHours: await rollupsOf(customerId, "rollup_quarter_hour"),
    days: await rollupsOf(customerId, "rollup_day"),
    pending: await pendingOf(customerId),
  };
}

/** Freezes all that is pending, as a flush would. */
async function reportAll(customerId: string): Promise<void> {
  await database.pool.query(
    `UPDATE pending_window SET reported = total, accepted = total, next_sequence = next_sequence + 1
     WHERE customer_id = $1 AND total <> reported`,
    [customerId],
  );
}

async function reportedOf(customerId: string) {
  const result = await database.pool.query(
    `SELECT event_name, sum(total)::text AS total, sum(reported)::text AS reported, sum(total - reported)::text AS due
     FROM pending_window WHERE customer_id = $1 GROUP BY event_name ORDER BY event_name`,
    [customerId],
  );
  return result.rows;
}

/** Dense around a few instants, so that records and boundaries meet in the same minute, quarter-hour and day. */
const nearMs = fc.tuple(
  fc.constantFrom(MIDNIGHT - QUARTER_HOUR, MIDNIGHT, MIDNIGHT + 7 * QUARTER_HOUR, MIDNIGHT + DAY),
  fc.oneof(fc.integer({ min: 0, max: 2 * MINUTE }), fc.integer({ min: 0, max: QUARTER_HOUR })),
);
const eventTimeMs = nearMs.map(([base, offset]) => base + offset);
const boundaryMs = fc
  .tuple(nearMs, fc.constantFrom(SECOND, SECOND, MINUTE, QUARTER_HOUR, DAY))
  .map(([[base, offset], unit]) => Math.floor((base + offset) / unit) * unit);
const sent = fc.record({
  eventTimeMs,
  apiKeyId: fc.constantFrom("", "key_a"),
  measurements: fc
    .tuple(fc.bigInt({ min: 0n, max: 1_000_000_000_000n }), fc.bigInt({ min: 1n, max: 9n }))
    .map(([input_tokens, output_tokens]) => ({ input_tokens, output_tokens })),
  labels: fc.constantFrom({}, { team: "red" }, { team: "blue", trace: "not kept" }),
});
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ apply: fc.array(sent, { minLength: 1, maxLength: 12 }) }) },
  { weight: 2, arbitrary: fc.record({ learn: fc.array(boundaryMs, { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ report: true as const }) },
);

test("boundaries between applies, in any order: as if known beforehand", async () => {
  const ledger = ledgerOf();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 10 }), async (steps) => {
      const [late, early] = [newCustomer(), newCustomer()];
      await learn(
        early,
        steps.flatMap((s) => ("learn" in s ? s.learn : [])),
      );
      const totals = { input_tokens: 0n, output_tokens: 0n };
      for (const s of steps) {
        if ("learn" in s) await learn(late, s.learn);
        else if ("report" in s) await reportAll(late);
        else {
          await ledger.apply(s.apply.map((fields) => usageRecord({ ...fields, customerId: late })));
          await ledger.apply(s.apply.map((fields) => usageRecord({ ...fields, customerId: early })));
          for (const { measurements } of s.apply) {
            totals.input_tokens += measurements.input_tokens;
            totals.output_tokens += measurements.output_tokens;
          }
        }
        // At every instant, not only in the end: nothing appears or disappears.
        const pending = new Map((await reportedOf(late)).map((row) => [row.event_name, BigInt(row.total)]));
        expect(pending.get("input_tokens") ?? 0n).toBe(totals.input_tokens);
        expect(pending.get("output_tokens") ?? 0n).toBe(totals.output_tokens);
      }
      expect(await everythingOf(late)).toEqual(await everythingOf(early));
      // One more flush brings Stripe to the same sums.
      await reportAll(late);
      for (const row of await reportedOf(late)) expect(row.due).toBe("0");
    }),
    seeded(40),
  );
  expect(warnings).toEqual([]);
});

test("applies and boundaries at the same time, from many connections: as if known beforehand", async () => {
  const ledger = ledgerOf();
  const [late, early] = [newCustomer(), newCustomer()];
  const boundaries = [7, 100, 3_601, 900, 86_400, 61].map((s) => MIDNIGHT + s * SECOND);
  const batches = Array.from({ length: 12 }, (_, b) =>
    Array.from({ length: 40 }, (_, i) => ({
      eventTimeMs: MIDNIGHT + (((b * 40 + i) * 7_919_000) % (DAY + QUARTER_HOUR)),
    })),
  );
  await learn(early, boundaries);
  for (const batch of batches) await ledger.apply(batch.map((r) => usageRecord({ ...r, customerId: early })));
  await Promise.all([
    ...batches.map((batch) => ledger.apply(batch.map((r) => usageRecord({ ...r, customerId: late })))),
    ...boundaries.map((boundary) => learn(late, [boundary])),
    learn(late, boundaries),
  ]);
  expect(await everythingOf(late)).toEqual(await everythingOf(early));
});

test("what was reported under the window stays with its first piece; the flush corrects both", async () => {
  const ledger = ledgerOf();
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint) =>
    usageRecord({ customerId, eventTimeMs: MIDNIGHT + seconds * SECOND, measurements: { input_tokens } });
  await ledger.apply([at(10, 3n), at(19.999, 4n), at(20, 5n), at(50, 6n)]);
  await reportAll(customerId);
  await learn(customerId, [MIDNIGHT + 20 * SECOND, MIDNIGHT + 50 * SECOND]);
  const result = await database.pool.query(
    `SELECT extract(second FROM window_start)::integer AS start, extract(second FROM window_end)::integer AS end,
       total, reported, accepted, next_sequence FROM pending_window WHERE customer_id = $1 ORDER BY window_start`,
    [customerId],
  );
  expect(result.rows).toEqual([
    { start: 0, end: 20, total: "7", reported: "18", accepted: "18", next_sequence: 1 },
    { start: 20, end: 50, total: "5", reported: "0", accepted: "0", next_sequence: 0 },
    { start: 50, end: 0, total: "6", reported: "0", accepted: "0", next_sequence: 0 },
  ]);
});

test("billing rules and labels changed since: totals per event name stay, split in proportion; nothing is billed anew", async () => {
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint, output_tokens: bigint) =>
    usageRecord({
      customerId,
      eventTimeMs: MIDNIGHT + seconds * SECOND,
      measurements: { input_tokens, output_tokens },
      labels: { team: "red" },
    });
  await ledgerOf().apply([at(1, 1n, 10n), at(40, 3n, 10n)]);
  const changed: MeterCatalog = {
    ...testCatalog(),
    billing: [
      { meter: "input_tokens", modelPattern: "*", eventName: "input_tokens", weight: 100n },
      { meter: "input_tokens", modelPattern: "*", eventName: "all_tokens", weight: 1n },
    ],
    rollupLabels: [],
  };
  await learn(customerId, [MIDNIGHT + 30 * SECOND], changed);
  expect(await pendingOf(customerId)).toEqual([
    { start: "12 00:00:00", event_name: "input_tokens", seconds: 30, total: "1" },
    { start: "12 00:00:00", event_name: "output_tokens", seconds: 30, total: "20" },
    { start: "12 00:00:30", event_name: "input_tokens", seconds: 30, total: "3" },
  ]);
  for (const table of ["rollup_quarter_hour", "rollup_day"] as const) {
    const rows = (await rollupsOf(customerId, table)).filter((row) => row.meter !== "requests");
    expect(rows.map((row) => [row.start, row.meter, row.labels, row.quantity])).toEqual([
      ["12 00:00:00", "input_tokens", {}, "1"],
      ["12 00:00:00", "output_tokens", {}, "10"],
      ["12 00:00:30", "input_tokens", {}, "3"],
      ["12 00:00:30", "output_tokens", {}, "10"],
    ]);
  }
});

test("raw records gone: the quarter-hour stays whole, the day is cut where quarter-hours allow, totals stay", async () => {
  const ledger = ledgerOf();
  const customerId = newCustomer();
  const day = MIDNIGHT - 40 * DAY;
  const at = (offsetMs: number, input_tokens: bigint) =>
    usageRecord({ customerId, eventTimeMs: day + offsetMs, measurements: { input_tokens } });
  await ledger.apply([at(0, 1n), at(2 * MINUTE + 1, 2n), at(QUARTER_HOUR, 4n)]);
  await database.pool.query("DELETE FROM usage_record WHERE customer_id = $1", [customerId]);
  warnings.length = 0;
  await learn(customerId, [day + 2 * MINUTE, day + QUARTER_HOUR]);
  const tokens = async (table: "rollup_quarter_hour" | "rollup_day") =>
    (await rollupsOf(customerId, table)).filter((r) => r.meter === "input_tokens").map((r) => [r.start, r.quantity]);
  expect(await tokens("rollup_quarter_hour")).toEqual([
    ["02 00:00:00", "3"],
    ["02 00:15:00", "4"],
  ]);
  expect(await tokens("rollup_day")).toEqual([
    ["02 00:00:00", "3"],
    ["02 00:15:00", "4"],
  ]);
  expect(warnings).toHaveLength(1);
});

test("a boundary in the future, and one that is known, cut nothing and need no shard", async () => {
  const customerId = newCustomer();
  await learn(customerId, [MIDNIGHT + 365 * DAY]);
  const versions = () => database.pool.query("SELECT version FROM shard ORDER BY shard").then((r) => r.rows);
  const before = await versions();
  await learn(customerId, [MIDNIGHT + 365 * DAY]);
  expect(await versions()).toEqual(before);
});

test("a boundary off the second is refused and leaves nothing behind", async () => {
  const customerId = newCustomer();
  await expect(learn(customerId, [MIDNIGHT + 1])).rejects.toThrow("whole second");
  const rows = await database.pool.query("SELECT FROM subscription WHERE stripe_customer_id = $1", [customerId]);
  expect(rows.rowCount).toBe(0);
});
