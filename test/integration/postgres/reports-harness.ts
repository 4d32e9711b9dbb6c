// What the tests of the outbox share: a leader's reports and flush requests over a real Postgres.
import { expect, vi } from "vitest";
import type { ClaimedReport, FlushScope, LeaseGrant } from "../../../src/app/ports/reports.ts";
import { planReports, type SinkOutcome, settle } from "../../../src/domain/report.ts";
import { postgresFlushRequests } from "../../../src/postgres/flush-requests.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { LEASE } from "../flush/harness.ts";

export const ALL_CLOSED: FlushScope = { customerId: undefined, includeOpen: false };
export const ALL: FlushScope = { customerId: undefined, includeOpen: true };
export const decide = (windows: Parameters<typeof planReports>[0], nowMs: number) =>
  planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs });

export async function setUp() {
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

export async function only<T>(rows: readonly T[] | Promise<readonly T[]>): Promise<T> {
  const [row, ...more] = await rows;
  if (row === undefined || more.length > 0)
    throw new Error(`expected one, got ${row === undefined ? 0 : more.length + 1}`);
  return row;
}

/** Resolves once some session waits for a lock. */
export async function lockWaited(pool: Pool): Promise<void> {
  const waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
  await vi.waitFor(async () => expect((await pool.query(waits)).rowCount).toBe(1), 55_000);
}
