// What it costs to find and freeze what changed, where nearly nothing did: one pass of the flush over the windows of many customers.

import { FLUSH_SETTINGS, Flush } from "../../src/app/flush.ts";
import type { Tenure } from "../../src/app/hold-lease.ts";
import type { MeterSink } from "../../src/app/ports/reports.ts";
import { openDeployment } from "../../src/postgres/deployment.ts";
import { postgresFlushRequests } from "../../src/postgres/flush-requests.ts";
import { postgresLease } from "../../src/postgres/lease.ts";
import type { Pool } from "../../src/postgres/pool.ts";
import { postgresReports } from "../../src/postgres/reports.ts";
import { SYSTEM_CLOCK } from "../../src/process/system-clock.ts";

export interface PlannerRun {
  readonly windows: number;
  readonly planned: number;
  readonly passMs: number;
  /** Of a pass that finds nothing. */
  readonly idlePassMs: number;
}

const LEASE = "bench";
const TTL_MS = 600_000;
/** One window in so many has changed. */
const SHARE = 100;

/** One pass after one window in a hundred changed, other ones each `round`, and one after nothing did. `pool` holds `windows` windows. */
export async function runPlanner(pool: Pool, windows: number, round: number): Promise<PlannerRun> {
  await openDeployment(pool, 16, "postgres");
  await pool.query("DELETE FROM report");
  await pool.query(`UPDATE pending_window SET total = total + 1 WHERE right(customer_id, 2) = lpad($1::text, 2, '0')`, [
    round % SHARE,
  ]);
  await pool.query("VACUUM (ANALYZE) pending_window");
  await pool.query("CHECKPOINT");
  const { planned, passMs } = await onePass(pool);
  const idle = await onePass(pool);
  if (planned !== windows / SHARE || idle.planned !== 0)
    throw new Error(`planned ${planned} and then ${idle.planned} of ${windows / SHARE} windows that changed`);
  return { windows, planned, passMs, idlePassMs: idle.passMs };
}

/** The flush itself, up to the end of its first pass. */
async function onePass(pool: Pool): Promise<{ planned: number; passMs: number }> {
  const lease = postgresLease(pool, LEASE);
  const grant = await lease.acquire("bench", TTL_MS);
  if (grant === undefined) throw new Error("the bench's lease is held");
  const over = new AbortController();
  const tenure: Tenure = { grant, signal: over.signal, stopping: over.signal, mayBegin: () => !over.signal.aborted };
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const startedMs = performance.now();
  let result = { planned: 0, passMs: Number.NaN };
  const observer = {
    planned(planned: number) {
      result = { planned, passMs: performance.now() - startedMs };
      over.abort();
    },
    sent() {},
    held() {},
    backlog() {},
  };
  const flush = new Flush({
    reports: postgresReports(pool, LEASE, "v1"),
    requests: postgresFlushRequests(pool, LEASE),
    sink: NOTHING_IS_SENT,
    deploymentId: "bench",
    lateUsage: "current_period",
    settings: FLUSH_SETTINGS,
    clock: SYSTEM_CLOCK,
    logger: silent,
    observer,
  });
  await flush.run(tenure);
  await lease.release(grant);
  return result;
}

const NOTHING_IS_SENT: MeterSink = {
  name: "v1",
  batchMax: 1,
  serial: true,
  send: () => Promise.reject(new Error("the pass is over, and with it the tenure")),
};
