// Recut against a real Postgres: whenever a boundary becomes known, the ledger ends as if it had always been known.
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { planReports } from "../../../src/domain/report.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
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
     FROM pending_window WHERE customer_id = $1 AND total <> 0 ORDER BY window_start, event_name, payload COLLATE "C"`,
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

/** Freezes all that is pending into reports, as a flush does, and takes them for accepted. */
async function reportAll(customerId: string): Promise<void> {
  const lease = postgresLease(database.pool, customerId);
  const grant = await lease.acquire("test", 60_000);
  if (grant === undefined) throw new Error("the lease is held");
  const reports = postgresReports(database.pool, customerId, "v1");
  await reports.plan(grant, { customerId, includeOpen: true }, undefined, 1_000, (windows, nowMs) =>
    planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs }),
  );
  await lease.release(grant);
  await database.pool.query("UPDATE pending_window SET accepted = reported WHERE customer_id = $1", [customerId]);
}

/** What the reports add up to, per event name. */
async function sentOf(customerId: string): Promise<Map<string, bigint>> {
  const result = await database.pool.query<{ event_name: string; value: string }>(
    "SELECT event_name, sum(value) AS value FROM report WHERE customer_id = $1 GROUP BY event_name",
    [customerId],
  );
  return new Map(result.rows.map((row) => [row.event_name, BigInt(row.value)]));
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
/** Rules of other weights, names, payloads and labels: what each record added follows from those of its time alone. */
const CATALOGS: readonly MeterCatalog[] = [
  testCatalog(),
  {
    ...testCatalog(),
    billing: [
      { meter: "input_tokens", modelPattern: "*", eventName: "input_tokens", weight: 100n },
      { meter: "input_tokens", modelPattern: "*", eventName: "all_tokens", weight: 1n },
      {
        meter: "output_tokens",
        modelPattern: "*",
        eventName: "all_tokens",
        weight: 3n,
        payload: new Map([["is", "out"]]),
      },
      { meter: "requests", modelPattern: "openai/*", eventName: "calls", weight: 1n },
    ],
    rollupLabels: [],
  },
  { ...testCatalog(), billing: [], rollupLabels: ["team", "trace"] },
];
type Sent = typeof sent extends fc.Arbitrary<infer Value> ? Value : never;
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ apply: fc.array(sent, { minLength: 1, maxLength: 12 }) }) },
  { weight: 2, arbitrary: fc.record({ learn: fc.array(boundaryMs, { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ report: true as const }) },
  { weight: 1, arbitrary: fc.record({ rules: fc.constantFrom(...CATALOGS) }) },
  // One of those applied so far, counted around; one that is void already among them.
  { weight: 2, arbitrary: fc.record({ void: fc.nat(50) }) },
);

/** What a record adds to each event name. */
function billed({ measurements }: Sent, catalog: MeterCatalog) {
  const quantities: Readonly<Record<string, bigint>> = { ...measurements, requests: 1n };
  return catalog.billing.map(
    ({ meter, eventName, weight }) => [eventName, (quantities[meter] ?? 0n) * weight] as const,
  );
}

interface Applied {
  readonly sent: Sent;
  readonly catalog: MeterCatalog;
  readonly key: string;
  voided: boolean;
}

/** Two customers who are sent the same records; the one learns of its boundaries in time, the other late. Sums by hand beside. */
class TwoCustomers {
  readonly late = newCustomer();
  readonly early = newCustomer();
  /** Per event name, of records not voided. */
  readonly billed = new Map<string, bigint>();
  /** Per meter, of records not voided. */
  readonly measured = new Map<string, bigint>([["requests", 0n]]);
  readonly #applied: Applied[] = [];
  #catalog = testCatalog();

  async take(s: Step): Promise<void> {
    if ("learn" in s) await learn(this.late, s.learn, this.#catalog);
    else if ("report" in s) await reportAll(this.late);
    else if ("rules" in s) this.#catalog = s.rules;
    else if ("void" in s) await this.#void(this.#applied[s.void % this.#applied.length]);
    else await this.#apply(s.apply);
  }

  async #apply(batch: readonly Sent[]): Promise<void> {
    const known = this.#applied.length;
    const added = batch.map((sent, i) => ({ sent, catalog: this.#catalog, key: `k${known + i}`, voided: false }));
    const ledger = ledgerOf(this.#catalog);
    for (const customerId of [this.late, this.early])
      await ledger.apply(added.map(({ sent, key }) => usageRecord({ ...sent, customerId, idempotencyKey: key })));
    for (const { sent } of added) this.#count(sent, this.#catalog, 1n);
    this.#applied.push(...added);
  }

  async #void(applied: Applied | undefined): Promise<void> {
    const voids = postgresVoids(database.pool, this.#catalog, SHARDS);
    const idempotencyKey = applied?.key ?? "never sent";
    const expected = applied === undefined ? "not_found" : applied.voided ? "already_voided" : "voided";
    for (const customerId of [this.late, this.early])
      expect((await voids.voidRecord({ customerId, idempotencyKey, reason: "test" })).kind).toBe(expected);
    if (expected !== "voided" || applied === undefined) return;
    this.#count(applied.sent, applied.catalog, -1n);
    applied.voided = true;
  }

  #count(sent: Sent, catalog: MeterCatalog, sign: bigint): void {
    for (const [name, quantity] of billed(sent, catalog)) add(this.billed, name, sign * quantity);
    for (const [meter, quantity] of Object.entries({ ...sent.measurements, requests: 1n }))
      add(this.measured, meter, sign * quantity);
  }
}

function add(sums: Map<string, bigint>, name: string, quantity: bigint): void {
  sums.set(name, (sums.get(name) ?? 0n) + quantity);
}

async function measuredOf(customerId: string, table: "rollup_quarter_hour" | "rollup_day") {
  const sums = new Map<string, bigint>([["requests", 0n]]);
  for (const { meter, quantity } of await rollupsOf(customerId, table)) add(sums, meter, BigInt(quantity));
  return sums;
}

function nonZero(sums: ReadonlyMap<string, bigint>): object {
  return Object.fromEntries([...sums].filter(([, quantity]) => quantity !== 0n).sort());
}

test("applies, voids, flushes, new rules and boundaries in any order: the sums of what is not void, cut as if the boundaries had been known", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      const two = new TwoCustomers();
      const { late, early } = two;
      await learn(
        early,
        steps.flatMap((s) => ("learn" in s ? s.learn : [])),
      );
      for (const s of steps) {
        await two.take(s);
        // At every instant, not only in the end: nothing appears or disappears.
        const pending = new Map((await reportedOf(late)).map((row) => [row.event_name, BigInt(row.total)]));
        expect(nonZero(pending)).toEqual(nonZero(two.billed));
        expect(nonZero(await measuredOf(late, "rollup_quarter_hour"))).toEqual(nonZero(two.measured));
        expect(nonZero(await measuredOf(late, "rollup_day"))).toEqual(nonZero(two.measured));
      }
      expect(await everythingOf(late)).toEqual(await everythingOf(early));
      // One more flush brings Stripe to the same sums.
      await reportAll(late);
      for (const row of await reportedOf(late)) expect(row.due).toBe("0");
      expect(nonZero(await sentOf(late))).toEqual(nonZero(two.billed));
    }),
    seeded(60),
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

test("all records of a minute voided after they were reported: a boundary cuts the window that waits to be taken back, too", async () => {
  const customerId = newCustomer();
  const record = usageRecord({ customerId, eventTimeMs: MIDNIGHT + 10 * SECOND, measurements: { input_tokens: 3n } });
  await ledgerOf().apply([record]);
  await reportAll(customerId);
  const { idempotencyKey } = record;
  await postgresVoids(database.pool, testCatalog(), SHARDS).voidRecord({ customerId, idempotencyKey, reason: "test" });
  await learn(customerId, [MIDNIGHT + 20 * SECOND]);
  const window = () =>
    database.pool.query(
      "SELECT extract(epoch FROM window_end - window_start)::integer AS seconds, total, reported FROM pending_window WHERE customer_id = $1",
      [customerId],
    );
  expect((await window()).rows).toEqual([{ seconds: 20, total: "0", reported: "3" }]);
  await reportAll(customerId);
  expect((await window()).rows).toEqual([{ seconds: 20, total: "0", reported: "0" }]);
});

test("rules changed between records of one minute, then a boundary: each record keeps what it was billed; the flush moves, and adds nothing", async () => {
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint, output_tokens: bigint) =>
    usageRecord({
      customerId,
      eventTimeMs: MIDNIGHT + seconds * SECOND,
      measurements: { input_tokens, output_tokens },
      labels: { team: "red" },
    });
  await ledgerOf().apply([at(1, 1n, 10n), at(40, 3n, 20n)]);
  await ledgerOf(CATALOGS[1]).apply([at(2, 5n, 7n), at(50, 9n, 2n)]);
  await reportAll(customerId);
  await learn(customerId, [MIDNIGHT + 30 * SECOND], CATALOGS[2]);
  const parts = { calls: [1, 1], input_tokens: [1 + 500, 3 + 900], output_tokens: [10, 20] };
  expect(await pendingOf(customerId)).toEqual([
    { start: "12 00:00:00", event_name: "all_tokens", seconds: 30, total: "21" },
    { start: "12 00:00:00", event_name: "all_tokens", seconds: 30, total: "5" },
    ...Object.entries(parts).map(([event_name, [first]]) => {
      return { start: "12 00:00:00", event_name, seconds: 30, total: String(first) };
    }),
    { start: "12 00:00:30", event_name: "all_tokens", seconds: 30, total: "6" },
    { start: "12 00:00:30", event_name: "all_tokens", seconds: 30, total: "9" },
    ...Object.entries(parts).map(([event_name, [, second]]) => {
      return { start: "12 00:00:30", event_name, seconds: 30, total: String(second) };
    }),
  ]);
  for (const row of await reportedOf(customerId)) expect(row.due).toBe("0");
  const quarterHours = await rollupsOf(customerId, "rollup_quarter_hour");
  expect(
    quarterHours.filter((row) => row.meter === "input_tokens").map((row) => [row.start, row.labels, row.quantity]),
  ).toEqual([
    ["12 00:00:00", {}, "5"],
    ["12 00:00:00", { team: "red" }, "1"],
    ["12 00:00:30", {}, "9"],
    ["12 00:00:30", { team: "red" }, "3"],
  ]);
});

test("records of before catalogs were kept, billing rules and labels changed since: totals per event name stay, split in proportion; nothing is billed anew", async () => {
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint, output_tokens: bigint) =>
    usageRecord({
      customerId,
      eventTimeMs: MIDNIGHT + seconds * SECOND,
      measurements: { input_tokens, output_tokens },
      labels: { team: "red" },
    });
  await ledgerOf().apply([at(1, 1n, 10n), at(40, 3n, 10n)]);
  await database.pool.query("UPDATE usage_record SET catalog_id = NULL WHERE customer_id = $1", [customerId]);
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
