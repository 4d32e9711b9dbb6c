// Planning reports against a real Postgres: which windows are frozen, when, and how often.
import { describe, expect, test } from "vitest";
import type { PlanCursor } from "../../../src/app/ports/reports.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { inTransaction } from "../../../src/postgres/pool.ts";
import { addUsage, CLOSED_MS, reportRows } from "../flush/harness.ts";
import { ALL, ALL_CLOSED, decide, lockWaited, setUp } from "./reports-harness.ts";

/** Some customer of a shard, as the domain has it: the query computes the same in SQL. */
function customerOfShard(shard: number, shardCount: number): string {
  for (let i = 0; ; i += 1) if (shardOf(`cus_${i}`, shardCount) === shard) return `cus_${i}`;
}

describe("plan", () => {
  test("freezes what closed windows hold, once, and what comes later under the next sequence", async () => {
    const { pool, planAll } = await setUp();
    await addUsage(pool, { customerId: "cus_1", quantity: 40n }, { customerId: "cus_2", quantity: 2n });
    expect(await planAll()).toBe(2);
    expect(await planAll()).toBe(0);
    await addUsage(pool, { customerId: "cus_1", quantity: 5n });
    expect(await planAll()).toBe(1);
    const rows = await reportRows(pool);
    expect(rows.map((r) => [r.customer_id, r.value, r.state])).toEqual([
      ["cus_1", "40", "planned"],
      ["cus_1", "5", "planned"],
      ["cus_2", "2", "planned"],
    ]);
    expect(new Set(rows.map((r) => r.identifier)).size).toBe(3);
  });

  test("a window that shrank gets a negative report", async () => {
    const { pool, planAll } = await setUp();
    await addUsage(pool, { customerId: "cus_1", quantity: 40n });
    await planAll();
    await addUsage(pool, { customerId: "cus_1", quantity: -15n });
    await planAll();
    expect((await reportRows(pool)).map((r) => r.value)).toEqual(["40", "-15"]);
  });

  test("a sum of more than 15 digits goes in parts", async () => {
    const { pool, planAll } = await setUp();
    await addUsage(pool, { customerId: "cus_1", quantity: 2_000_000_000_000_001n });
    expect(await planAll()).toBe(3);
    const windows = await pool.query("SELECT total - reported AS rest, next_sequence FROM pending_window");
    expect(windows.rows).toEqual([{ rest: "0", next_sequence: 3 }]);
  });

  test("leaves windows that still grow, unless asked for them, and never takes those of the future", async () => {
    const { pool, planAll } = await setUp();
    const nowMs = Math.floor(Date.now() / 1000) * 1000;
    await addUsage(
      pool,
      { customerId: "cus_1", windowStartMs: nowMs - 30_000 },
      { customerId: "cus_2", windowStartMs: nowMs + 120_000 },
    );
    expect(await planAll()).toBe(0);
    expect(await planAll(ALL)).toBe(1);
    expect((await reportRows(pool)).map((r) => r.customer_id)).toEqual(["cus_1"]);
  });

  test("takes one customer's windows where asked", async () => {
    const { pool, planAll } = await setUp();
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2" });
    expect(await planAll({ customerId: "cus_2", includeOpen: true })).toBe(1);
    expect((await reportRows(pool)).map((r) => r.customer_id)).toEqual(["cus_2"]);
  });

  test("unmapped customers wait until a Stripe customer is known", async () => {
    const { pool, planAll, reports } = await setUp();
    await addUsage(pool, { customerId: "acme" }, { customerId: "cusX1" }, { customerId: "cus_1" });
    expect(await planAll()).toBe(1);
    expect(await reports.backlog()).toMatchObject({ unmappedWindows: 2, openReports: 1 });
    await pool.query("INSERT INTO account VALUES ('acme', 'cus_acme')");
    expect(await planAll()).toBe(1);
    const stripeCustomers = await pool.query("SELECT customer_id, stripe_customer_id FROM report ORDER BY 1");
    expect(stripeCustomers.rows).toEqual([
      { customer_id: "acme", stripe_customer_id: "cus_acme" },
      { customer_id: "cus_1", stripe_customer_id: "cus_1" },
    ]);
  });

  test.each([
    ["with Postgres intake", "postgres", "('', NULL), ('', NULL)", 1],
    ["all watermarks have passed", "redis", "('e', '2999-01-01'), ('e', '2999-01-01')", 1],
    ["the customer's shard has not got so far", "redis", "('e', '2001-01-01'), ('e', '2999-01-01')", 0],
    ["the customer's shard was never drained", "redis", "('', NULL), ('e', '2999-01-01')", 0],
    ["another shard stands still", "redis", "('e', '2999-01-01'), ('e', '2001-01-01')", 1],
  ])("the watermark closes windows: %s", async (_, intake, shards, planned) => {
    const { pool, planAll } = await setUp();
    await pool.query("UPDATE deployment SET intake = $1", [intake]);
    await pool.query(
      `UPDATE shard SET epoch = s.epoch, watermark = s.watermark::timestamptz
       FROM (SELECT row_number() OVER () - 1 AS shard, * FROM (VALUES ${shards}) AS v(epoch, watermark)) AS s
       WHERE shard.shard = s.shard`,
    );
    await addUsage(pool, { customerId: customerOfShard(0, 2) });
    expect(await planAll()).toBe(planned);
  });

  test("a pass goes through all windows in steps, and ends though usage comes in", async () => {
    const { pool, reports, grant } = await setUp();
    const usage = Array.from({ length: 25 }, (_, i) => {
      return { customerId: `cus_${i % 7}`, eventName: `e${i % 2}`, windowStartMs: CLOSED_MS - (i % 9) * 60_000 };
    });
    await addUsage(pool, ...usage);
    const steps: number[] = [];
    let after: PlanCursor | undefined;
    do {
      const step = await reports.plan(grant, ALL_CLOSED, after, 4, decide);
      steps.push(step.planned);
      after = step.next;
      await addUsage(pool, ...usage);
    } while (after !== undefined && steps.length < 20);
    const windows = new Set(usage.map((u) => JSON.stringify(u))).size;
    expect(steps.reduce((a, b) => a + b, 0)).toBe(windows);
    expect(new Set((await reportRows(pool)).map((r) => r.identifier)).size).toBe(windows);
  });

  test("waits for an apply under way, so that a busy window is not left out", async () => {
    const { pool, planAll } = await setUp();
    await addUsage(pool, { customerId: "cus_1", quantity: 1n });
    const planned = await inTransaction(pool, async (client) => {
      await client.query("UPDATE pending_window SET total = total + 10");
      const plan = planAll();
      await lockWaited(pool);
      return { plan };
    });
    expect(await planned.plan).toBe(1);
    expect((await reportRows(pool)).map((r) => r.value)).toEqual(["11"]);
  });
});
