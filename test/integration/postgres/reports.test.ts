import { describe, expect, test, vi } from "vitest";
import type { ClaimedReport, FlushScope, LeaseGrant, PlanCursor } from "../../../src/app/ports/reports.ts";
import { StaleLeaseError } from "../../../src/app/ports/reports.ts";
import { giveBack, planReports, type SinkOutcome, settle } from "../../../src/domain/report.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { postgresFlushRequests } from "../../../src/postgres/flush-requests.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { inTransaction, type Pool } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { sqlFile } from "../../../src/postgres/sql-file.ts";
import { testCatalog } from "../../support/catalog.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import { addUsage, CLOSED_MS, expireLease, LEASE, reportRows } from "../flush/harness.ts";

const ALL_CLOSED: FlushScope = { customerId: undefined, includeOpen: false };
const ALL: FlushScope = { customerId: undefined, includeOpen: true };
const decide = (windows: Parameters<typeof planReports>[0], nowMs: number) =>
  planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs });

async function setUp() {
  const { pool, connect } = await useServedDatabase();
  const lease = postgresLease(pool, LEASE);
  const appoint = async () => {
    const grant = await lease.acquire("test", 600_000);
    if (grant === undefined) throw new Error("the lease is held");
    return grant;
  };
  const reports = postgresReports(pool, LEASE, "v1");
  const requests = postgresFlushRequests(pool, LEASE);
  const grant = await appoint();
  const planAll = async (scope = ALL_CLOSED, by: LeaseGrant = grant) =>
    (await reports.plan(by, scope, undefined, 1_000, decide)).planned;
  const finish = (report: ClaimedReport, outcome: SinkOutcome) =>
    reports.settle(grant, [{ report, settlement: settle(outcome, report.before, report.attempts) }]);
  return { pool, connect, appoint, reports, requests, grant, planAll, finish };
}

async function only<T>(rows: readonly T[] | Promise<readonly T[]>): Promise<T> {
  const [row, ...more] = await rows;
  if (row === undefined || more.length > 0)
    throw new Error(`expected one, got ${row === undefined ? 0 : more.length + 1}`);
  return row;
}

/** Resolves once some session waits for a lock. */
async function lockWaited(pool: Pool): Promise<void> {
  const waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
  await vi.waitFor(async () => expect((await pool.query(waits)).rowCount).toBe(1));
}

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

describe("claim", () => {
  test("marks durably what it gives, and gives it once", async () => {
    const { pool, planAll, reports, grant } = await setUp();
    await addUsage(pool, { customerId: "cus_1", quantity: 7n });
    await planAll();
    const { claimed, held } = await reports.claim(grant, 10);
    expect(claimed).toMatchObject([
      {
        customerId: "cus_1",
        stripeCustomerId: "cus_1",
        eventName: "tokens",
        value: 7n,
        timestampMs: CLOSED_MS,
        before: "planned",
        attempts: 1,
      },
    ]);
    expect(held).toEqual([]);
    expect(await reportRows(pool)).toMatchObject([
      { state: "sending", attempts: 1, first_attempt_at: expect.any(Date) },
    ]);
    expect(await reports.claim(grant, 10)).toEqual({ claimed: [], held: [] });
  });

  test("a customer whose sends keep failing does not keep others from being sent", async () => {
    const { pool, planAll, reports, grant, finish } = await setUp();
    const old = Array.from({ length: 5 }, (_, i) => ({
      customerId: "cus_failing",
      windowStartMs: CLOSED_MS - (60 - i) * 60_000,
    }));
    await addUsage(pool, ...old, { customerId: "cus_healthy" });
    await planAll();
    const first = await only((await reports.claim(grant, 1)).claimed);
    expect(first.customerId).toBe("cus_failing");
    await finish(first, { kind: "unknown", message: "timeout" });
    const next = await reports.claim(grant, 1);
    expect(next.claimed.map((report) => report.customerId)).toEqual(["cus_healthy"]);
    expect((await reports.claim(grant, 10)).claimed).toEqual([]);
  });

  test("takes the tightest deadline first: near the horizon, then oldest usage", async () => {
    const { pool, planAll, reports, grant } = await setUp();
    await addUsage(
      pool,
      { customerId: "cus_young" },
      { customerId: "cus_old", windowStartMs: CLOSED_MS - 33 * 86_400_000 },
      { customerId: "cus_tried" },
    );
    await planAll();
    await pool.query(
      "UPDATE report SET state = 'unknown', first_attempt_at = now() - interval '22 hours' WHERE customer_id = 'cus_tried'",
    );
    const order: string[] = [];
    for (let i = 0; i < 3; i++) order.push((await only((await reports.claim(grant, 1)).claimed)).customerId);
    expect(order).toEqual(["cus_tried", "cus_old", "cus_young"]);
  });

  test("what an earlier leader left being sent is unknown, keeps its first attempt, and is due at once", async () => {
    const { pool, planAll, reports, grant, appoint } = await setUp();
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    const first = await only((await reports.claim(grant, 10)).claimed);
    const before = await only(reportRows(pool));
    await expireLease(pool);
    const next = await appoint();
    const again = await only((await reports.claim(next, 10)).claimed);
    expect(again).toEqual({ ...first, before: "unknown", attempts: 2 });
    expect(await reportRows(pool)).toMatchObject([{ first_attempt_at: before.first_attempt_at }]);
  });

  test.each([
    ["unknown", "22 hours 59 minutes", "sending"],
    ["unknown", "23 hours", "held"],
    ["sending", "23 hours", "held"],
    ["planned", undefined, "sending"],
  ])("a report that is %s, first tried %s ago, becomes %s", async (state, ago, then) => {
    const { pool, planAll, reports, grant, appoint } = await setUp();
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    await reports.claim(grant, 10);
    await pool.query("UPDATE report SET state = $1, first_attempt_at = now() - $2::interval", [state, ago ?? null]);
    await expireLease(pool);
    const step = await reports.claim(await appoint(), 10);
    const row = await only(reportRows(pool));
    expect(row).toMatchObject({ state: then, reason: then === "held" ? "outcome_unknown" : "" });
    expect(step.held).toEqual(then === "held" ? [row.identifier] : []);
    expect(step.claimed).toHaveLength(then === "held" ? 0 : 1);
  });

  test("leaves what waits for its retry", async () => {
    const { pool, planAll, reports, grant, finish } = await setUp();
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "unknown", message: "timeout" });
    expect((await reports.claim(grant, 10)).claimed).toEqual([]);
    await pool.query("UPDATE report SET next_attempt_at = now()");
    expect((await reports.claim(grant, 10)).claimed).toMatchObject([{ before: "unknown", attempts: 2 }]);
  });
});

describe("settle", () => {
  async function claimed(quantity = 7n) {
    const parts = await setUp();
    await addUsage(parts.pool, { customerId: "cus_1", quantity });
    await parts.planAll();
    return { ...parts, report: await only((await parts.reports.claim(parts.grant, 10)).claimed) };
  }
  const windows = async (pool: Pool) => (await pool.query("SELECT total, reported, accepted FROM pending_window")).rows;

  test("what was accepted is added to its window, once, however often it is told", async () => {
    const { pool, finish, report } = await claimed();
    for (let i = 0; i < 3; i++) await finish(report, i === 0 ? { kind: "accepted" } : { kind: "duplicate" });
    expect(await reportRows(pool)).toMatchObject([{ state: "accepted", reason: "" }]);
    expect(await windows(pool)).toEqual([{ total: "7", reported: "7", accepted: "7" }]);
  });

  test("several reports of one window are added up", async () => {
    const { pool, reports, grant, planAll, finish, report } = await claimed();
    await addUsage(pool, { customerId: "cus_1", quantity: 3n });
    await planAll();
    const second = await only((await reports.claim(grant, 10)).claimed);
    const accepted = settle({ kind: "accepted" }, "planned", 1);
    await reports.settle(
      grant,
      [report, second].map((r) => ({ report: r, settlement: accepted })),
    );
    await finish(report, { kind: "accepted" });
    expect(await windows(pool)).toEqual([{ total: "10", reported: "10", accepted: "10" }]);
  });

  test("a throttled first send leaves no first attempt; one of unknown fate does", async () => {
    const { pool, reports, grant, finish, report } = await claimed();
    await finish(report, { kind: "throttled", message: "slower" });
    expect(await reportRows(pool)).toMatchObject([
      { state: "planned", reason: "throttled", first_attempt_at: null, attempts: 1 },
    ]);
    await pool.query("UPDATE report SET next_attempt_at = now()");
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "unknown", message: "timeout" });
    const { first_attempt_at: firstAttempt } = await only(reportRows(pool));
    expect(firstAttempt).toBeInstanceOf(Date);
    await pool.query("UPDATE report SET next_attempt_at = now()");
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "throttled", message: "slower" });
    expect(await reportRows(pool)).toMatchObject([{ state: "unknown", attempts: 3, first_attempt_at: firstAttempt }]);
    expect(await windows(pool)).toEqual([{ total: "7", reported: "7", accepted: "0" }]);
  });

  test("what was refused is held with its reason, and counts as a backlog", async () => {
    const { pool, reports, grant, finish, report } = await claimed();
    await finish(report, { kind: "refused", code: "no_such_customer", message: "No such customer: 'cus_1'" });
    expect(await reportRows(pool)).toMatchObject([
      { state: "held", reason: "no_such_customer", first_attempt_at: null },
    ]);
    expect(await reports.backlog()).toEqual({
      openReports: 0,
      otherSinkReports: 0,
      heldReports: 1,
      unmappedWindows: 0,
      lagMs: 0,
    });
    expect((await reports.claim(grant, 10)).claimed).toEqual([]);
  });

  test("what was given back is due at once, as if it had never been claimed", async () => {
    const { pool, reports, grant, report } = await claimed();
    await reports.settle(grant, [{ report, settlement: giveBack(report.before, report.attempts) }]);
    expect(await reportRows(pool)).toMatchObject([{ state: "planned", first_attempt_at: null, attempts: 0 }]);
    expect((await reports.claim(grant, 10)).claimed).toEqual([report]);
  });
});

describe("a report belongs to the sink that it was sent through", () => {
  async function sentThroughV1(outcome: SinkOutcome) {
    const parts = await setUp();
    await addUsage(parts.pool, { customerId: "cus_1", quantity: 7n });
    await parts.planAll();
    await parts.finish(await only((await parts.reports.claim(parts.grant, 10)).claimed), outcome);
    await parts.pool.query("UPDATE report SET next_attempt_at = now()");
    return { ...parts, stream: postgresReports(parts.pool, LEASE, "stream") };
  }
  const sink = async (pool: Pool) => (await only(reportRows(pool))).sink;

  test("another leaves it alone, counts it, and does not wait for it", async () => {
    const { pool, reports, stream, requests, grant } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    expect(await sink(pool)).toBe("v1");
    expect(await stream.claim(grant, 10)).toEqual({ claimed: [], held: [] });
    expect(await stream.backlog()).toMatchObject({ openReports: 1, otherSinkReports: 1 });
    expect(await reports.backlog()).toMatchObject({ openReports: 1, otherSinkReports: 0 });
    for (const customer of ["cus_1", undefined]) await requests.request(customer);
    await requests.planned(
      grant,
      (await requests.unplanned()).map((request) => request.requestId),
    );
    expect(await requests.complete(grant, "v1")).toBe(0);
    expect(await requests.complete(grant, "stream")).toBe(2);
    expect((await reports.claim(grant, 10)).claimed).toMatchObject([{ before: "unknown", attempts: 2 }]);
  });

  test("another holds it once the sink that it was sent through may not send it again either", async () => {
    const { pool, stream, grant } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    await pool.query("UPDATE report SET first_attempt_at = now() - interval '23 hours'");
    const { claimed, held } = await stream.claim(grant, 10);
    expect([claimed.length, held.length]).toEqual([0, 1]);
    expect(await reportRows(pool)).toMatchObject([{ state: "held", reason: "outcome_unknown" }]);
  });

  test("what was surely not processed may go through any", async () => {
    const { pool, stream, grant, finish } = await sentThroughV1({ kind: "throttled", message: "slower" });
    expect(await sink(pool)).toBe("");
    await finish(await only((await stream.claim(grant, 10)).claimed), { kind: "taken" });
    expect(await reportRows(pool)).toMatchObject([{ state: "sent", sink: "stream" }]);
    // Taken is not counted: only the summaries tell.
    expect((await pool.query("SELECT accepted FROM pending_window")).rows).toEqual([{ accepted: "0" }]);
    expect(await stream.backlog()).toMatchObject({ openReports: 0 });
  });

  test("a throttled resend of what may have been processed stays where it is", async () => {
    const { pool, reports, stream, grant, finish } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "throttled", message: "slower" });
    await pool.query("UPDATE report SET next_attempt_at = now()");
    expect((await stream.claim(grant, 10)).claimed).toEqual([]);
  });

  test("no statement can change it while something of it may have been processed", async () => {
    const { pool } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    for (const change of ["sink = 'stream'", "sink = ''", "sink = 'stream', first_attempt_at = NULL"])
      await expect(pool.query(`UPDATE report SET ${change}`)).rejects.toThrow("frozen");
  });
});

test("a report is frozen: no statement can change what is sent", async () => {
  const { pool, planAll } = await setUp();
  await addUsage(pool, { customerId: "cus_1" });
  await planAll();
  for (const change of [
    "value = value + 1",
    "identifier = 'x'",
    "event_timestamp = now()",
    "stripe_customer_id = 'cus_2'",
  ]) {
    await expect(pool.query(`UPDATE report SET ${change}`)).rejects.toThrow("frozen");
  }
});

test("nothing that a stale leader writes takes effect", async () => {
  const { pool, planAll, reports, requests, grant, appoint } = await setUp();
  await addUsage(pool, { customerId: "cus_1" });
  await planAll();
  const { claimed } = await reports.claim(grant, 10);
  await addUsage(pool, { customerId: "cus_2" });
  const requestId = await requests.request(undefined);
  await expireLease(pool);
  await appoint();
  const state = async () => {
    const tables = ["report", "pending_window", "flush_request"];
    return Promise.all(tables.map(async (t) => (await pool.query(`SELECT * FROM ${t} ORDER BY 1`)).rows));
  };
  const before = await state();
  const settled = claimed.map((report) => ({ report, settlement: settle({ kind: "accepted" }, "planned", 1) }));
  for (const write of [
    () => planAll(ALL),
    () => reports.claim(grant, 10),
    () => reports.settle(grant, settled),
    () => requests.planned(grant, [requestId]),
    () => requests.complete(grant, "v1"),
  ]) {
    await expect(write()).rejects.toThrow(StaleLeaseError);
  }
  expect(await state()).toEqual(before);
});

describe("flush requests", () => {
  test("are complete when all that was planned for them has been tried", async () => {
    const { pool, planAll, reports, requests, grant, finish } = await setUp();
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2" });
    const one = await requests.request("cus_1");
    const all = await requests.request(undefined);
    expect(await requests.unplanned()).toEqual([
      { requestId: one, customerId: "cus_1" },
      { requestId: all, customerId: undefined },
    ]);
    await planAll(ALL);
    expect(await requests.complete(grant, "v1")).toBe(0);
    await requests.planned(grant, [one, all]);
    expect(await requests.unplanned()).toEqual([]);
    expect(await requests.complete(grant, "v1")).toBe(0);
    const { claimed } = await reports.claim(grant, 10);
    expect(await requests.complete(grant, "v1")).toBe(0);
    const [first, second] = claimed.toSorted((a, b) => (a.customerId < b.customerId ? -1 : 1));
    if (!first || !second) throw new Error("two were planned");
    await finish(first, { kind: "unknown", message: "timeout" });
    expect(await requests.complete(grant, "v1")).toBe(1);
    expect([await requests.isComplete(one), await requests.isComplete(all)]).toEqual([true, false]);
    await finish(second, { kind: "accepted" });
    expect(await requests.complete(grant, "v1")).toBe(1);
    expect(await requests.isComplete(all)).toBe(true);
  });

  test("are not kept open by usage that came later", async () => {
    const { pool, planAll, requests, grant } = await setUp();
    const requestId = await requests.request(undefined);
    await requests.planned(grant, [requestId]);
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    expect(await requests.complete(grant, "v1")).toBe(1);
  });

  test("are forgotten a day after they were done, and count as complete then", async () => {
    const { pool, requests, grant } = await setUp();
    const old = await requests.request(undefined);
    await requests.planned(grant, [old]);
    await requests.complete(grant, "v1");
    await pool.query("UPDATE flush_request SET done_at = now() - interval '25 hours'");
    const open = await requests.request("cus_1");
    expect((await pool.query("SELECT request_id FROM flush_request")).rows).toEqual([{ request_id: String(open) }]);
    expect([await requests.isComplete(old), await requests.isComplete(open)]).toEqual([true, false]);
  });
});

test.each(["plan", "settle"] as const)(
  "%s takes row locks in the order of the primary key, as applies do",
  async (step) => {
    const { pool, planAll, reports, grant } = await setUp();
    // By window end, the order is the other one.
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2", windowStartMs: CLOSED_MS - 60_000 });
    await planAll();
    const { claimed } = await reports.claim(grant, 10);
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2", windowStartMs: CLOSED_MS - 60_000 });
    expect(claimed.map((report) => report.customerId)).toEqual(["cus_2", "cus_1"]);
    const accepted = settle({ kind: "accepted" }, "planned", 1);
    const start = () =>
      step === "plan"
        ? planAll()
        : reports.settle(
            grant,
            claimed.map((report) => ({ report, settlement: accepted })),
          );
    const { started } = await inTransaction(pool, async (client) => {
      await client.query("UPDATE pending_window SET total = total + 1 WHERE customer_id = 'cus_1'");
      const started = start();
      await lockWaited(pool);
      // Would close the circle if the other side had this row already.
      await client.query("UPDATE pending_window SET total = total + 1 WHERE customer_id = 'cus_2'");
      return { started };
    });
    await started;
  },
);

test("applies, planning and settling at once: no deadlock, and the sums agree", async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  const { pool, connect, reports, grant, planAll } = await setUp();
  const ledgers = [connect(), connect(), connect()].map((p) => postgresLedger(p, testCatalog(), 2));
  let applying = ledgers.length;
  const apply = async (ledger: (typeof ledgers)[number]) => {
    for (let i = 0; i < 40; i++) {
      const records = Array.from({ length: 20 }, () =>
        usageRecord({
          customerId: `cus_${Math.floor(random() * 12)}`,
          eventTimeMs: CLOSED_MS + Math.floor(random() * 240_000),
        }),
      );
      await ledger.apply(records);
    }
    applying -= 1;
  };
  const flush = async () => {
    for (let rest = 1; applying > 0 || rest > 0; ) {
      await planAll(ALL);
      const { claimed } = await reports.claim(grant, 50);
      const shuffled = claimed.map((report) => ({ report, at: random() })).sort((a, b) => a.at - b.at);
      await reports.settle(
        grant,
        shuffled.map(({ report }) => ({ report, settlement: settle({ kind: "accepted" }, report.before, 1) })),
      );
      rest = claimed.length;
    }
  };
  await Promise.all([...ledgers.map(apply), flush()]);
  await planAll(ALL);
  const open = await pool.query("SELECT * FROM pending_window WHERE total <> reported OR reported <> accepted");
  expect(open.rows, `SEED=${seed}`).toEqual([]);
  const sums = await pool.query(
    "SELECT (SELECT sum(total) FROM pending_window) = (SELECT sum(value) FROM report) AS equal",
  );
  expect(sums.rows, `SEED=${seed}`).toEqual([{ equal: true }]);
});

test.each([
  ["report-plannable", [null, false, null, null, null, null, null, 10, 1000], ["pending_window_unplanned"]],
  ["report-due", [1, 10, "v1", 82_800_000], ["report_due"]],
  ["report-backlog", ["v1"], ["report_held", "pending_window_unplanned"]],
  ["flush-request-unplanned", [], ["flush_request_open"]],
  ["flush-request-complete", ["v1"], ["flush_request_open", "report_open_customer"]],
])("%s can use the indexes that its header names", async (name, values, indexes) => {
  const { pool } = await useServedDatabase();
  const plan = await inTransaction(pool, async (client) => {
    await client.query("SET LOCAL enable_seqscan = off");
    const explained = await client.query<{ "QUERY PLAN": string }>(`EXPLAIN ${sqlFile(name)}`, values);
    return explained.rows.map((row) => row["QUERY PLAN"]).join("\n");
  });
  for (const index of indexes) expect(plan).toContain(index);
});
