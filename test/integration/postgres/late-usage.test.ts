// Late usage in the outbox: reports of closed periods, before and after they were sent.
import { expect, onTestFinished, test } from "vitest";
import { closePeriod } from "../../../src/domain/invoiced-period.ts";
import { HELD_OUTCOME_UNKNOWN, type PendingWindow, planReports } from "../../../src/domain/report.ts";
import { postgresInvoicedPeriods } from "../../../src/postgres/invoiced-periods.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import {
  findHeld,
  holdPlanned,
  listReports,
  retryHeld,
  showReport,
  writeOff,
} from "../../../src/postgres/report-desk.ts";
import { postgresReports, readDeadlines } from "../../../src/postgres/reports.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { addUsage, LEASE, reportRows } from "../flush/harness.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** On a whole second, three days ago: where a period ended. */
const BOUNDARY_MS = Math.floor(Date.now() / 1000) * 1000 - 3 * DAY_MS;
const CONTEXT = { deploymentId: "test", lateUsage: "current_period" } as const;

async function setUp(lateUsage: "current_period" | "hold" = "current_period") {
  const { pool } = await useServedDatabase();
  const lease = postgresLease(pool, LEASE);
  const grant = await lease.acquire("test", 60_000);
  if (grant === undefined) throw new Error("the lease is taken");
  onTestFinished(() => lease.release(grant));
  const reports = postgresReports(pool, LEASE, "v1");
  const context = { ...CONTEXT, lateUsage };
  const plan = () =>
    reports.plan(
      grant,
      { customerId: undefined, includeOpen: false },
      undefined,
      100,
      (windows: readonly PendingWindow[], nowMs) => planReports(windows, { ...context, nowMs }),
    );
  const replace = () => reports.replaceClosed(grant, 100, context);
  const close = () =>
    postgresInvoicedPeriods(pool, LEASE).close(grant, 10, (period, nowMs) =>
      closePeriod(period, { ...context, nowMs }),
    );
  /** Sends all that is due, as a sink that takes everything, and finds it in the summaries. */
  const send = async () => {
    const { claimed } = await reports.claim(grant, 100);
    const settlement = {
      state: "accepted",
      retryAfterMs: 0,
      attempts: 1,
      untouched: false,
      reason: "",
      message: "",
    } as const;
    await reports.settle(
      grant,
      claimed.map((report) => ({ report, settlement })),
    );
    await pool.query("UPDATE report SET reconciled_at = now() WHERE state = 'accepted'");
    return claimed;
  };
  return { pool, plan, replace, close, send };
}

/** Stripe's invoice of the thirty days before the boundary; `billed` null while it is a draft that is final in `finalInMs`. */
async function saveInvoice(pool: Pool, billed: bigint | null, finalInMs = HOUR_MS): Promise<void> {
  await pool.query(
    `INSERT INTO invoice (invoice_id, stripe_customer_id, subscription_id, status, finalizes_at)
     VALUES ('in_1', 'cus_1', 'sub_1', $1, now() + $2 * interval '1 ms')
     ON CONFLICT (invoice_id) DO UPDATE SET status = excluded.status, finalizes_at = excluded.finalizes_at`,
    [billed === null ? "draft" : "paid", billed === null ? finalInMs : null],
  );
  await pool.query(
    `INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed)
     VALUES ('in_1', 'tokens', $1, $2, 'cus_1', $3) ON CONFLICT (invoice_id, event_name, period_start) DO UPDATE SET billed = excluded.billed`,
    [new Date(BOUNDARY_MS - 30 * DAY_MS), new Date(BOUNDARY_MS), billed],
  );
}

async function subscribe(pool: Pool, status: string): Promise<void> {
  await pool.query(
    "INSERT INTO subscription (subscription_id, stripe_customer_id, status) VALUES ('sub_1', 'cus_1', $1)",
    [status],
  );
}

/** Minutes on both sides of the boundary, which cuts one of them. */
const BEFORE = { customerId: "cus_1", windowStartMs: BOUNDARY_MS - 30_000, windowMs: 30_000, quantity: 5n };
const AFTER = { customerId: "cus_1", windowStartMs: BOUNDARY_MS, windowMs: 30_000, quantity: 7n };

test("while the invoice is a draft, usage of its period keeps its time, and is due before the invoice is final", async () => {
  const { pool, plan } = await setUp();
  await saveInvoice(pool, null);
  await addUsage(pool, BEFORE, AFTER);
  await plan();
  const [before, after] = await listReports(pool, {
    states: ["planned"],
    reason: undefined,
    customerId: "cus_1",
    lateOnly: false,
    limit: 9,
    after: undefined,
  }).then((r) => r.toReversed());
  expect(before).toMatchObject({ late: false, value: "5", eventTime: new Date(BEFORE.windowStartMs) });
  expect((before?.deadlineAt.getTime() ?? 0) - Date.now()).toBeLessThanOrEqual(HOUR_MS);
  expect(after).toMatchObject({ late: false, value: "7", eventTime: new Date(AFTER.windowStartMs) });
  expect((after?.deadlineAt.getTime() ?? 0) - Date.now()).toBeGreaterThan(30 * DAY_MS);
});

test("what is due is told by kind, with what is overdue", async () => {
  const { pool, plan } = await setUp();
  await saveInvoice(pool, null);
  await addUsage(pool, BEFORE, AFTER, { ...AFTER, customerId: "acme" });
  await plan();
  const minutes = (ms: number | null) => (ms === null ? null : Math.round(ms / 60_000));
  const due = async () =>
    (await readDeadlines(pool)).map((d) => [d.kind, minutes(d.tightestInMs), d.waiting, d.overdue]);
  const age = minutes(BEFORE.windowStartMs + 35 * DAY_MS - Date.now());
  // The unmapped customer's window waits, too.
  expect(await due()).toEqual([
    ["invoice", 60, 1, 0],
    ["resend", null, 0, 0],
    ["age", age, 3, 0],
  ]);
  await pool.query(
    "UPDATE report SET state = 'unknown', first_attempt_at = now() - interval '23 hours 1 minute' WHERE value = 5",
  );
  await pool.query("UPDATE report SET state = 'sent', first_attempt_at = now() WHERE value = 7");
  expect(await due()).toEqual([
    ["invoice", 60, 1, 0],
    ["resend", -1, 2, 1],
    ["age", age, 2, 0],
  ]);
});

test.each([
  ["is final", 0n, HOUR_MS],
  ["is as good as final", null, 60_000],
])(
  "usage of a period whose invoice %s is billed now, and listed with where it landed",
  async (_, billed, finalInMs) => {
    const { pool, plan } = await setUp();
    await saveInvoice(pool, billed, finalInMs);
    await subscribe(pool, "active");
    await addUsage(pool, BEFORE, AFTER);
    await plan();
    const all = { states: undefined, reason: undefined, customerId: undefined, limit: 9, after: undefined };
    const late = await listReports(pool, { ...all, lateOnly: true });
    expect(late).toMatchObject([{ value: "5", late: true, windowStart: new Date(BEFORE.windowStartMs) }]);
    expect(Math.abs((late[0]?.eventTime.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
    expect((await listReports(pool, { ...all, lateOnly: false })).length).toBe(2);
  },
);

test.each([
  ["hold", "active", "late"],
  ["current_period", "canceled", "no_open_period"],
] as const)(
  "under the policy %s, with a subscription that is %s, it is held as %s, and an operator can send it",
  async (policy, status, reason) => {
    const { pool, plan, send } = await setUp(policy);
    await saveInvoice(pool, 0n);
    await subscribe(pool, status);
    await addUsage(pool, BEFORE);
    await plan();
    expect(await reportRows(pool)).toMatchObject([{ state: "held", reason, value: "5" }]);
    expect(await send()).toEqual([]);
    await pool.query("UPDATE subscription SET status = 'active'");
    const { identifiers } = await findHeld(pool, { reason, customerId: undefined }, "", 10);
    const [retry] = await retryHeld(pool, "test", identifiers);
    expect(retry).toMatchObject({ kind: "retry", origin: identifiers[0], value: 5n, late: true, heldFor: undefined });
    expect((await send()).map((r) => r.value)).toEqual([5n]);
    expect((await reportRows(pool)).map((r) => r.state)).toEqual(["superseded", "accepted"]);
    expect((await pool.query("SELECT total, reported, accepted FROM pending_window")).rows).toEqual([
      { total: "5", reported: "5", accepted: "5" },
    ]);
    // Twice is once.
    expect(await retryHeld(pool, "test", identifiers)).toEqual([]);
  },
);

test("what was planned and never sent before its invoice was final is replaced", async () => {
  const { pool, plan, replace, send } = await setUp();
  await addUsage(pool, BEFORE, AFTER);
  await plan();
  expect(await replace()).toEqual([]);
  await saveInvoice(pool, 0n);
  const [replacement] = await replace();
  expect(replacement).toMatchObject({ kind: "retry", value: 5n, late: true, windowStartMs: BEFORE.windowStartMs });
  expect(await replace()).toEqual([]);
  expect((await send()).map((r) => [r.value, r.late]).sort()).toEqual([
    [5n, true],
    [7n, false],
  ]);
});

test("what was sent is never replaced: it may have been counted", async () => {
  const { pool, plan, replace } = await setUp();
  await addUsage(pool, BEFORE);
  await plan();
  await pool.query("UPDATE report SET first_attempt_at = now(), state = 'unknown'");
  await saveInvoice(pool, 0n);
  expect(await replace()).toEqual([]);
  const [report] = await reportRows(pool);
  await pool.query("UPDATE report SET state = 'held', reason = 'outcome_unknown'");
  expect(await retryHeld(pool, "test", [report?.identifier ?? ""])).toEqual([]);
});

test("what Stripe counted after the invoice was final is carried on, once, and again when more comes to light", async () => {
  const { pool, plan, close, send } = await setUp();
  await addUsage(pool, BEFORE);
  await plan();
  await saveInvoice(pool, 2n);
  // On its way: not to be judged yet.
  expect(await close()).toMatchObject({ closed: 0 });
  await send();
  expect(await close()).toEqual({ closed: 1, carried: 3n, exceeded: 0 });
  expect(await close()).toMatchObject({ closed: 0 });
  const accepted = async () => (await pool.query("SELECT accepted FROM pending_window")).rows[0].accepted;
  expect(await accepted()).toBe("2");
  expect((await send()).map((r) => [r.kind, r.value, r.late])).toEqual([["carry", 3n, true]]);
  expect(await accepted()).toBe("5");
  // A report of the closed period ceases to count: less was billable than was billed.
  await pool.query("UPDATE report SET state = 'held', reason = 'meter_event_customer_not_found' WHERE kind = 'usage'");
  expect(await close()).toMatchObject({ closed: 1 });
  const { rows } = await pool.query("SELECT excess, closed_at IS NOT NULL AS closed FROM invoiced_period");
  // 5 counted, 3 carried: now -3, where Stripe billed 2; what is below zero is carried.
  expect(rows).toEqual([{ excess: "0", closed: true }]);
});

test("a report of unknown fate holds up the closing: the invoice may bill it", async () => {
  const { pool, plan, close } = await setUp();
  await addUsage(pool, BEFORE);
  await plan();
  await saveInvoice(pool, 5n);
  await pool.query("UPDATE report SET state = 'held', reason = $1, first_attempt_at = now()", [HELD_OUTCOME_UNKNOWN]);
  expect(await close()).toEqual({ closed: 0, carried: 0n, exceeded: 0 });
  await pool.query("UPDATE report SET state = 'accepted', reason = '', reconciled_at = now()");
  expect(await close()).toEqual({ closed: 1, carried: 0n, exceeded: 0 });
});

test("a period that two invoices bill is left to a person", async () => {
  const { pool, plan, close, send } = await setUp();
  await addUsage(pool, BEFORE);
  await plan();
  await send();
  await saveInvoice(pool, 2n);
  await pool.query(
    `INSERT INTO invoice (invoice_id, stripe_customer_id, subscription_id, status) VALUES ('in_2', 'cus_1', 'sub_1', 'paid')`,
  );
  await pool.query(
    `INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed)
     SELECT 'in_2', event_name, period_start, period_end - interval '1 day', stripe_customer_id, 3 FROM invoiced_period`,
  );
  expect(await close()).toMatchObject({ closed: 0 });
});

test("a draft that nobody can read a quantity of closes its period all the same once it is final", async () => {
  const { pool, plan } = await setUp();
  await saveInvoice(pool, null);
  await pool.query("UPDATE invoice SET status = 'open', finalizes_at = NULL");
  await addUsage(pool, BEFORE);
  await plan();
  expect(await reportRows(pool)).toMatchObject([{ late: true }]);
});

test("an invoice of nothing that was reported is closed, and one of more is shown", async () => {
  const { pool, close } = await setUp();
  await saveInvoice(pool, 4n);
  expect(await close()).toEqual({ closed: 1, carried: 0n, exceeded: 1 });
  expect((await pool.query("SELECT excess FROM invoiced_period")).rows).toEqual([{ excess: "4" }]);
});

test("what was taken back, and counted after the invoice was final, is carried: the next invoice bills so much less", async () => {
  const { pool, plan, close, send } = await setUp();
  await saveInvoice(pool, null);
  await addUsage(pool, BEFORE);
  await plan();
  await send();
  await pool.query("UPDATE pending_window SET total = total - 3");
  await plan();
  await saveInvoice(pool, 5n);
  await pool.query("UPDATE invoice SET finalized_at = now()");
  // As after an outage: it was on its way when the invoice became final.
  expect((await send()).map(({ value, late }) => [value, late])).toEqual([[-3n, false]]);
  expect(await close()).toEqual({ closed: 1, carried: 3n, exceeded: 0 });
  expect((await send()).map(({ kind, value }) => [kind, value])).toEqual([["carry", -3n]]);
  expect(await close()).toEqual({ closed: 0, carried: 0n, exceeded: 0 });
  // What was taken back in time is on the invoice: one that bills more is for a person.
  await pool.query("UPDATE invoice SET finalized_at = now() + interval '3 minutes'");
  await pool.query("UPDATE invoiced_period SET billed = 7, closed_at = NULL");
  expect(await close()).toEqual({ closed: 1, carried: 0n, exceeded: 1 });
});

test("an operator holds what was not sent, sees why, and sends it after all", async () => {
  const { pool, plan, send } = await setUp();
  await addUsage(pool, AFTER);
  await plan();
  const [{ identifier } = { identifier: "" }] = await reportRows(pool);
  expect(await holdPlanned(pool, [identifier, "u-0-0-none"], "asked by the customer")).toEqual([identifier]);
  expect(await send()).toEqual([]);
  expect(await showReport(pool, identifier)).toMatchObject({
    report: { state: "held", reason: "operator", message: "asked by the customer", value: "7" },
    window: { total: "7", reported: "7", accepted: "0" },
    followers: [],
    errors: [],
    records: 0,
  });
  expect(await showReport(pool, "u-0-0-none")).toBeUndefined();
  const [retry] = await retryHeld(pool, "test", [identifier]);
  expect(await showReport(pool, identifier)).toMatchObject({ followers: [{ identifier: retry?.identifier }] });
  expect((await send()).map((r) => r.value)).toEqual([7n]);
});

test("what is voided of a report that is held is held beside it: nothing is taken back that was never billed", async () => {
  const { pool, plan, send } = await setUp();
  const values = async () => (await reportRows(pool)).map((r) => [r.state, r.reason, r.value]);
  await addUsage(pool, AFTER);
  await plan();
  await pool.query("UPDATE report SET state = 'held', reason = 'no_such_customer', settled_at = now()");
  await addUsage(pool, { ...AFTER, quantity: 4n });
  await plan();
  await send();
  // Of 11, 4 are billed and 7 held. 9 are voided: the 7, and 2 of what is billed.
  await addUsage(pool, { ...AFTER, quantity: -9n });
  await plan();
  expect((await send()).map((r) => r.value)).toEqual([-2n]);
  expect(await values()).toEqual([
    ["held", "no_such_customer", "7"],
    ["accepted", "", "4"],
    ["held", "no_such_customer", "-7"],
    ["accepted", "", "-2"],
  ]);
  // The last 2: there is nothing held any more that they could be of.
  await addUsage(pool, { ...AFTER, quantity: -2n });
  await plan();
  expect((await send()).map((r) => r.value)).toEqual([-2n]);
  // Both of what is held go together.
  const { identifiers } = await findHeld(pool, { reason: "no_such_customer", customerId: undefined }, "", 10);
  await retryHeld(pool, "test", identifiers);
  expect((await send()).map((r) => r.value).sort()).toEqual([-7n, 7n]);
  expect((await pool.query("SELECT total, accepted FROM pending_window")).rows).toEqual([
    { total: "0", accepted: "0" },
  ]);
});

test("what is voided of a report that was written off is written off with it", async () => {
  const { pool, plan, send } = await setUp();
  await addUsage(pool, AFTER);
  await plan();
  await pool.query("UPDATE report SET state = 'held', reason = 'no_such_customer', settled_at = now()");
  const [{ identifier } = { identifier: "" }] = await reportRows(pool);
  expect(await writeOff(pool, [identifier], "never a customer")).toEqual([identifier]);
  await addUsage(pool, { ...AFTER, quantity: -7n });
  await plan();
  expect(await send()).toEqual([]);
  expect((await reportRows(pool)).map((r) => [r.state, r.reason, r.value])).toEqual([
    ["held", "no_such_customer", "7"],
    ["held", "written_off", "-7"],
  ]);
  const all = { reason: undefined, customerId: undefined };
  expect(await findHeld(pool, all, "", 10)).toMatchObject({ identifiers: [] });
  const filter = { ...all, states: ["written_off"], lateOnly: false, limit: 10, after: undefined } as const;
  expect(await listReports(pool, filter)).toHaveLength(2);
});
