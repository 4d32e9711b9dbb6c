// The audit against a ledger that lives: whatever is applied, voided, cut, reported and re-ruled, nothing differs; and what is spoiled then, shows.
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { DAY_MS } from "../../../src/domain/window.ts";
import { maintainPartitions, makePartitions } from "../../../src/postgres/partitions.ts";
import { testCatalog } from "../../support/catalog.ts";
import { type TestDatabase, useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";
import { acceptAll, apply, auditOf, columnsOf, learn, planAll, rebuild, verify, voidRecord } from "./harness.ts";

const MIDNIGHT = Date.UTC(2026, 9, 12);
const MINUTE = 60_000;

const OTHER_RULES: MeterCatalog = {
  ...testCatalog(),
  billing: [
    { meter: "input_tokens", modelPattern: "*", eventName: "input_tokens", weight: 100n },
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
};
const CATALOGS = [testCatalog(), OTHER_RULES, { ...testCatalog(), billing: [], rollupLabels: ["team", "trace"] }];

/** Dense around a few instants, so that records and boundaries meet in the same windows. */
const nearMs = fc
  .tuple(fc.constantFrom(MIDNIGHT - 15 * MINUTE, MIDNIGHT, MIDNIGHT + 105 * MINUTE), fc.nat(2 * MINUTE))
  .map(([base, offset]) => base + offset);
const sent = fc.record({
  eventTimeMs: nearMs,
  apiKeyId: fc.constantFrom("", "key_a"),
  measurements: fc
    .tuple(fc.bigInt({ min: 0n, max: 1_000_000_000_000n }), fc.bigInt({ min: 1n, max: 9n }))
    .map(([input_tokens, output_tokens]) => ({ input_tokens, output_tokens })),
  labels: fc.constantFrom({}, { team: "red" }, { team: "blue", trace: "not always kept" }),
});
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ apply: fc.array(sent, { minLength: 1, maxLength: 12 }) }) },
  { weight: 2, arbitrary: fc.record({ void: fc.nat(50) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      learn: fc.array(
        nearMs.map((ms) => ms - (ms % 1000)),
        { minLength: 1, maxLength: 3 },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ rules: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.constant({ report: true as const }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

let customers = 0;

/** One customer's ledger, as it is written in production. */
class Life {
  readonly customerId = `cus_life${customers++}`;
  readonly #database: TestDatabase;
  readonly #applied: UsageRecord[] = [];
  #catalog: MeterCatalog = testCatalog();

  constructor(database: TestDatabase) {
    this.#database = database;
  }

  async take(s: Step): Promise<void> {
    const { pool } = this.#database;
    if ("apply" in s) {
      const records = s.apply.map((fields) => usageRecord({ customerId: this.customerId, ...fields }));
      await apply(pool, records, this.#catalog);
      this.#applied.push(...records);
    } else if ("void" in s) {
      const record = this.#applied[s.void % Math.max(1, this.#applied.length)];
      if (record !== undefined) await voidRecord(pool, record, this.#catalog);
    } else if ("learn" in s) await learn(pool, this.customerId, s.learn, this.#catalog);
    else if ("rules" in s) this.#catalog = CATALOGS[s.rules] ?? testCatalog();
    else {
      await planAll(pool, this.customerId);
      await acceptAll(pool, this.customerId);
    }
  }
}

test("records, voids, boundaries, rules and reports in any order: nothing differs; what is spoiled then differs, and is rebuilt as it was", async () => {
  const database = await useServedDatabase();
  const { pool } = database;
  const tables = ["rollup_quarter_hour", "rollup_day", "pending_window"] as const;
  const rowsOf = async (customerId: string) =>
    Promise.all(
      tables.map(async (table) => {
        const holds = table === "pending_window" ? "total <> 0 OR next_sequence > 0" : "record_count <> 0";
        return (
          await pool.query(`SELECT * FROM ${table} WHERE customer_id = $1 AND (${holds}) ORDER BY 1, 2, 3, 4`, [
            customerId,
          ])
        ).rows;
      }),
    );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.constantFrom(...tables),
      fc.constantFrom("changed", "lost"),
      fc.nat(1000),
      async (steps, table, how, which) => {
        const life = new Life(database);
        const { customerId } = life;
        await life.take({
          apply: [
            { eventTimeMs: MIDNIGHT, apiKeyId: "", measurements: { input_tokens: 5n, output_tokens: 1n }, labels: {} },
          ],
        });
        for (const s of steps) await life.take(s);
        expect((await verify(pool, customerId)).differences).toEqual([]);
        const before = await rowsOf(customerId);
        const column = table === "pending_window" ? "total" : "quantity";
        const victim = `ctid = (SELECT ctid FROM ${table} WHERE customer_id = $1 AND ${column} <> 0 ORDER BY 1 OFFSET $2 % greatest(1, (SELECT count(*) FROM ${table} WHERE customer_id = $1 AND ${column} <> 0)) LIMIT 1)`;
        const spoil =
          how === "lost"
            ? `DELETE FROM ${table} WHERE ${victim}`
            : `UPDATE ${table} SET ${column} = -${column} WHERE ${victim}`;
        const spoiled = await pool.query(spoil, [customerId, which]);
        const { differences } = await verify(pool, customerId);
        expect(differences.length > 0).toBe(spoiled.rowCount === 1);
        expect((await rebuild(pool, customerId)).flatMap(({ left }) => left)).toEqual([]);
        expect((await verify(pool, customerId)).differences).toEqual([]);
        expect(await rowsOf(customerId)).toEqual(before);
      },
    ),
    seeded(40),
  );
});

test("all customers, one after the other, and only the days asked for", async () => {
  const { pool } = await useServedDatabase();
  const ids = ["a", "b", "cus_1", "cus_10", "Z", "ä"];
  for (const customerId of ids)
    await apply(
      pool,
      [-1, 0, 1].map((day) => usageRecord({ customerId, eventTimeMs: MIDNIGHT + day * DAY_MS })),
    );
  expect(await verify(pool)).toEqual({ days: 3 * ids.length, unverified: 0, differences: [] });
  const oneDay = { startMs: MIDNIGHT, endMs: MIDNIGHT + DAY_MS };
  expect(await verify(pool, undefined, oneDay)).toMatchObject({ days: ids.length });
  const audit = auditOf(pool);
  const seen: string[] = [];
  for (let after: string | undefined; ; after = seen.at(-1)) {
    const page = await audit.customers(oneDay, after, 2);
    seen.push(...page);
    if (page.length < 2) break;
  }
  expect(seen.toSorted()).toEqual(ids.toSorted());
  // Of a customer nothing is left but one made-up row, or one raw record.
  await pool.query("INSERT INTO rollup_day VALUES ('ghost', $1, gen_random_uuid(), 1, 1)", [new Date(MIDNIGHT)]);
  for (const table of ["rollup_quarter_hour", "rollup_day", "pending_window", "series"])
    await pool.query(`DELETE FROM ${table} WHERE customer_id = 'Z'`);
  const { differences } = await verify(pool);
  expect(differences.filter(({ found }) => found === "1")).toHaveLength(2);
  expect(columnsOf(differences)).toEqual([
    "pending_window.total",
    "rollup_day.quantity",
    "rollup_day.record_count",
    "rollup_quarter_hour.quantity",
    "rollup_quarter_hour.record_count",
  ]);
  await rebuild(pool);
  expect(await verify(pool)).toEqual({ days: 3 * ids.length, unverified: 0, differences: [] });
});

test("days whose raw records were dropped: said to be not verified, never rebuilt; their reports are compared all the same", async () => {
  const { pool } = await useServedDatabase();
  const customerId = "cus_acme";
  const old = MIDNIGHT - 50 * DAY_MS;
  await apply(
    pool,
    [old, MIDNIGHT].map((eventTimeMs) => usageRecord({ customerId, eventTimeMs })),
  );
  await planAll(pool, customerId);
  await maintainPartitions(pool, MIDNIGHT, 40 * DAY_MS);
  await pool.query("UPDATE rollup_day SET quantity = quantity + 1 WHERE window_start = $1", [new Date(old)]);
  expect(await verify(pool)).toEqual({ days: 2, unverified: 1, differences: [] });
  await pool.query("UPDATE pending_window SET reported = 1 WHERE window_start = $1 AND event_name = 'input_tokens'", [
    new Date(old),
  ]);
  const { differences } = await verify(pool);
  expect(differences).toMatchObject([{ column: "reported", expected: "10", found: "1", windowStartMs: old }]);
  expect(await rebuild(pool)).toEqual([
    { verified: false, rebuilt: [], left: differences },
    { verified: true, rebuilt: [], left: [] },
  ]);
});

test("records from before catalogs were kept: totals of their minutes are let be, rollups compared over all series", async () => {
  const { pool } = await useServedDatabase();
  const record = usageRecord({ customerId: "acme", eventTimeMs: MIDNIGHT, labels: { team: "red" } });
  // Summed by other rules and labels than today's, which nobody remembers.
  await apply(pool, [record], OTHER_RULES);
  await pool.query("UPDATE usage_record SET catalog_id = NULL");
  expect((await verify(pool)).differences).toEqual([]);
  await pool.query(
    "UPDATE rollup_day SET quantity = quantity + 1 WHERE series_id IN (SELECT series_id FROM series WHERE meter = 'requests')",
  );
  expect((await verify(pool)).differences).toMatchObject([
    { table: "rollup_day", column: "quantity", of: "", expected: "14", found: "15" },
  ]);
  const pending = (await pool.query("SELECT * FROM pending_window ORDER BY event_name")).rows;
  await rebuild(pool);
  expect((await verify(pool)).differences).toEqual([]);
  expect((await pool.query("SELECT * FROM pending_window ORDER BY event_name")).rows).toEqual(pending);
});

test("beside appliers, voids, boundaries, the planner and rebuilds: verify never sees half of anything", async () => {
  const database = await useServedDatabase();
  const customerId = "busy";
  let done = false;
  const work = async (plans: boolean) => {
    const pool = database.connect();
    for (let i = 0; i < 24; i++) {
      const records = Array.from({ length: 20 }, (_, n) =>
        usageRecord({ customerId, eventTimeMs: MIDNIGHT + ((i * 20 + n) % 90) * 1_000 }),
      );
      await apply(pool, records);
      const [wrong] = records;
      if (wrong !== undefined) await voidRecord(pool, wrong);
      if (i % 10 === 3) await learn(pool, customerId, [MIDNIGHT + i * 1_000]);
      if (plans && i % 6 === 5) {
        await planAll(pool, customerId);
        await acceptAll(pool, customerId);
      }
    }
  };
  const look = async (act: (pool: TestDatabase["pool"]) => Promise<readonly unknown[]>) => {
    const pool = database.connect();
    let looks = 0;
    while (!done) {
      expect(await act(pool)).toEqual([]);
      looks += 1;
    }
    return looks;
  };
  const looking = [
    look(async (pool) => (await verify(pool, customerId)).differences),
    look(async (pool) => (await rebuild(pool, customerId)).flatMap(({ rebuilt, left }) => [...rebuilt, ...left])),
  ];
  await Promise.all([work(true), work(false)]).finally(() => {
    done = true;
  });
  for (const looks of await Promise.all(looking)) expect(looks).toBeGreaterThan(2);
  expect(await verify(database.pool)).toMatchObject({ days: 1, differences: [] });
});

test("a partition is not dropped under a look at it", async () => {
  const { pool } = await useServedDatabase();
  await apply(pool, [usageRecord({ customerId: "acme", eventTimeMs: MIDNIGHT - 50 * DAY_MS })]);
  const holder = await pool.connect();
  // The look waits after it has seen which partitions there are, and before it reads one.
  await holder.query("BEGIN; LOCK TABLE period_boundary IN ACCESS EXCLUSIVE MODE");
  const looking = auditOf(pool).verify("acme", MIDNIGHT - 50 * DAY_MS);
  await vi.waitFor(async () => {
    const waiting = await pool.query(
      "SELECT FROM pg_locks WHERE NOT granted AND relation = 'period_boundary'::regclass",
    );
    expect(waiting.rowCount).toBe(1);
  }, 55_000);
  // Made they can be: only then is nobody's record kept waiting for a new day by a look that takes long.
  expect(await makePartitions(pool, MIDNIGHT)).toContain("2026-10-12");
  await expect(maintainPartitions(pool, MIDNIGHT, 40 * DAY_MS)).rejects.toMatchObject({ code: "55P03" });
  await holder.query("ROLLBACK");
  holder.release();
  expect(await looking).toEqual({ verified: true, differences: [] });
  await maintainPartitions(pool, MIDNIGHT, 40 * DAY_MS);
  expect(await verify(pool)).toMatchObject({ unverified: 1, differences: [] });
});

test("a straggler of a day that was dropped is not taken for all of it: neither verify nor rebuild judges by it", async () => {
  const { pool } = await useServedDatabase();
  const old = MIDNIGHT - 50 * DAY_MS;
  const of = (eventTimeMs: number) => usageRecord({ customerId: "acme", eventTimeMs });
  await apply(pool, [of(old), of(old + 3_600_000), of(MIDNIGHT)]);
  await maintainPartitions(pool, MIDNIGHT, 40 * DAY_MS);
  // As if it had waited in Redis all the time.
  await apply(pool, [of(old + 7_200_000)]);
  const sums = () => pool.query("SELECT * FROM rollup_day ORDER BY window_start, series_id");
  const before = (await sums()).rows;
  expect(await verify(pool)).toMatchObject({ days: 2, unverified: 1, differences: [] });
  await rebuild(pool, "acme");
  expect((await sums()).rows).toEqual(before);
  // A longer retention does not bring back what is gone.
  await maintainPartitions(pool, MIDNIGHT, 100 * DAY_MS);
  expect(await verify(pool)).toMatchObject({ days: 2, unverified: 1, differences: [] });
});

test("killed in the middle of a rebuild: the day is as it was, and a repeat rebuilds it", async () => {
  const database = await useServedDatabase();
  const { pool } = database;
  await apply(pool, [usageRecord({ customerId: "acme", eventTimeMs: MIDNIGHT })]);
  await pool.query("UPDATE rollup_day SET quantity = 7");
  await pool.query("UPDATE pending_window SET total = 7");
  const { differences } = await verify(pool);
  const holder = await pool.connect();
  await holder.query("BEGIN; SELECT FROM pending_window FOR UPDATE");
  const doomed = rebuild(database.connect(), "acme").catch((cause: unknown) => cause);
  await vi.waitFor(async () => {
    const killed = await pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%pending_window%' AND pid <> pg_backend_pid()`,
    );
    expect(killed.rowCount).toBe(1);
  }, 55_000);
  expect(await doomed).toBeInstanceOf(Error);
  await holder.query("ROLLBACK");
  holder.release();
  expect((await verify(pool)).differences).toEqual(differences);
  expect((await rebuild(pool)).flatMap(({ rebuilt }) => rebuilt)).toEqual(differences);
  expect((await verify(pool)).differences).toEqual([]);
});
