// Invoices that are final before their period is over: of a threshold, say, or of a subscription that just began.
import { expect, onTestFinished, test } from "vitest";
import { closePeriod } from "../../../src/domain/invoiced-period.ts";
import { type PendingWindow, planReports } from "../../../src/domain/report.ts";
import { postgresInvoicedPeriods } from "../../../src/postgres/invoiced-periods.ts";
import { saveInvoice as saveInvoiceState } from "../../../src/postgres/invoices.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { addUsage, CLOSED_MS, LEASE, reportRows } from "../flush/harness.ts";

const DAY_MS = 86_400_000;
const CONTEXT = { deploymentId: "test", lateUsage: "current_period" } as const;
const USAGE = { customerId: "cus_1", windowStartMs: CLOSED_MS, quantity: 5n };

async function setUp() {
  const { pool } = await useServedDatabase();
  const lease = postgresLease(pool, LEASE);
  const grant = (await lease.acquire("test", 60_000)) ?? expect.fail("the lease is taken");
  onTestFinished(() => lease.release(grant));
  const reports = postgresReports(pool, LEASE, "v1");
  const scope = { customerId: undefined, includeOpen: false };
  return {
    pool,
    plan: () =>
      reports.plan(grant, scope, undefined, 100, (windows: readonly PendingWindow[], nowMs) =>
        planReports(windows, { ...CONTEXT, nowMs }),
      ),
    replace: () => reports.replaceClosed(grant, 100, CONTEXT),
    close: () =>
      postgresInvoicedPeriods(pool, LEASE).close(grant, 10, (period, nowMs) =>
        closePeriod(period, { ...CONTEXT, nowMs }),
      ),
  };
}

/** An invoice over `startMs` to `endMs`, that is final since `finalizedMs`, or a draft that does not become final by itself. */
async function saveInvoice(
  pool: Pool,
  invoiceId: string,
  { startMs, endMs, finalizedMs, billed }: { startMs: number; endMs: number; finalizedMs?: number; billed?: bigint },
): Promise<void> {
  const line = { subscriptionItem: "si_1", eventName: "tokens", startMs, endMs, quantity: billed };
  await saveInvoiceState(
    pool,
    {
      invoiceId,
      stripeCustomerId: "cus_1",
      subscriptionId: "sub_1",
      status: finalizedMs === undefined ? "draft" : "paid",
      finalizesMs: undefined,
      finalizedMs,
      lines: [line],
    },
    undefined,
  );
}

/** As if all that was planned had been sent, counted and compared. */
async function accept(pool: Pool): Promise<void> {
  await pool.query(
    "UPDATE report SET state = 'accepted', reconciled_at = now(), settled_at = now() WHERE state = 'planned'",
  );
}

test("a period that runs is not closed by an invoice: its usage keeps its time, and nothing is carried into the same period", async () => {
  const { pool, plan, replace, close } = await setUp();
  await saveInvoice(pool, "in_1", {
    startMs: CLOSED_MS - 5 * DAY_MS,
    endMs: CLOSED_MS + 25 * DAY_MS,
    finalizedMs: CLOSED_MS - DAY_MS,
    billed: 0n,
  });
  await addUsage(pool, USAGE);
  await plan();
  expect(await replace()).toEqual([]);
  expect(await reportRows(pool)).toMatchObject([{ value: "5", late: false }]);
  await accept(pool);
  expect(await close()).toMatchObject({ closed: 0 });
  expect((await reportRows(pool)).length).toBe(1);
});

test("an invoice that was final before its period was over does not close it: the last one is still to come", async () => {
  const { pool, plan, close } = await setUp();
  await addUsage(pool, USAGE);
  await plan();
  await accept(pool);
  await saveInvoice(pool, "in_1", {
    startMs: CLOSED_MS - 5 * DAY_MS,
    endMs: CLOSED_MS + 60_000,
    finalizedMs: CLOSED_MS - DAY_MS,
    billed: 2n,
  });
  expect(await close()).toMatchObject({ closed: 0 });
});

test("the invoice of nothing that a subscription begins with leaves its first period to the next one", async () => {
  const { pool, plan, close } = await setUp();
  const period = { startMs: CLOSED_MS - 5 * DAY_MS, endMs: CLOSED_MS + 60_000 };
  await addUsage(pool, USAGE);
  await plan();
  await accept(pool);
  await saveInvoice(pool, "in_1", { ...period, finalizedMs: period.startMs, billed: 0n });
  await saveInvoice(pool, "in_2", { ...period, finalizedMs: period.endMs + 60_000, billed: 3n });
  expect(await close()).toEqual({ closed: 1, carried: 2n, exceeded: 0 });
});

test("a draft of unknown finalization keeps its period open beside an invoice that is final", async () => {
  const { pool, plan } = await setUp();
  const period = { startMs: CLOSED_MS - 5 * DAY_MS, endMs: CLOSED_MS + 60_000 };
  await saveInvoice(pool, "in_1", { ...period, finalizedMs: CLOSED_MS - DAY_MS, billed: 2n });
  await saveInvoice(pool, "in_2", period);
  await addUsage(pool, USAGE);
  await plan();
  expect(await reportRows(pool)).toMatchObject([{ late: false }]);
});

test("a period in which something is just being settled is left to the next pass, not waited for", async () => {
  const { pool, plan, close } = await setUp();
  const period = { startMs: CLOSED_MS - 5 * DAY_MS, endMs: CLOSED_MS + 60_000, finalizedMs: CLOSED_MS + 60_000 };
  await addUsage(pool, USAGE);
  await plan();
  await accept(pool);
  await saveInvoice(pool, "in_1", { ...period, billed: 3n });
  const settling = await pool.connect();
  await settling.query("BEGIN");
  await settling.query("UPDATE invoiced_period SET closed_at = NULL");
  expect(await close()).toMatchObject({ closed: 0 });
  await settling.query("COMMIT");
  settling.release();
  expect(await close()).toEqual({ closed: 1, carried: 2n, exceeded: 0 });
});
