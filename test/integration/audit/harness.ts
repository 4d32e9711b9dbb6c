// What the audit's tests share: a ledger that is written as in production, and ways to spoil it.

import { customerDays } from "../../../src/app/audit.ts";
import type { DayRebuild } from "../../../src/app/ports/audit.ts";
import type { Difference } from "../../../src/domain/audit.ts";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { planReports } from "../../../src/domain/report.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { postgresAudit } from "../../../src/postgres/audit.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { learnBoundaries } from "../../support/boundaries.ts";
import { testCatalog } from "../../support/catalog.ts";

export const SHARDS = 2;
export const LEASE = "flush";
const silent = { debug() {}, info() {}, warn() {}, error() {} };

const ALL_TIME = { startMs: Date.UTC(2000, 0), endMs: Date.UTC(2100, 0) };

export function auditOf(pool: Pool) {
  return postgresAudit(pool, { catalog: testCatalog(), shardCount: SHARDS, leaseName: LEASE });
}

export interface Verified {
  readonly days: number;
  readonly unverified: number;
  readonly differences: readonly Difference[];
}

export async function verify(pool: Pool, customerId?: string, interval = ALL_TIME): Promise<Verified> {
  const ledger = auditOf(pool);
  const differences: Difference[] = [];
  let [days, unverified] = [0, 0];
  for await (const day of customerDays(ledger, { customerId, interval }, new AbortController().signal)) {
    const seen = await ledger.verify(day.customerId, day.dayMs);
    days += 1;
    if (!seen.verified) unverified += 1;
    differences.push(...seen.differences);
  }
  return { days, unverified, differences };
}

export async function rebuild(pool: Pool, customerId?: string): Promise<readonly DayRebuild[]> {
  const ledger = auditOf(pool);
  const days: DayRebuild[] = [];
  for await (const day of customerDays(ledger, { customerId, interval: ALL_TIME }, new AbortController().signal))
    days.push(await ledger.rebuild(day.customerId, day.dayMs));
  return days;
}

/** Of each difference, where it is: "rollup_day.quantity". */
export function columnsOf(differences: readonly Difference[]): string[] {
  return [...new Set(differences.map(({ table, column }) => `${table}.${column}`))].sort();
}

export async function apply(pool: Pool, records: readonly UsageRecord[], catalog: MeterCatalog = testCatalog()) {
  await postgresLedger(pool, catalog, SHARDS).apply(records);
}

export async function voidRecord(pool: Pool, record: UsageRecord, catalog: MeterCatalog = testCatalog()) {
  await postgresVoids(pool, catalog, SHARDS).voidRecord({ ...record, reason: "test" });
}

export async function learn(pool: Pool, customerId: string, boundariesMs: readonly number[], catalog = testCatalog()) {
  await learnBoundaries(pool, { catalog, shardCount: SHARDS, logger: silent }, customerId, boundariesMs);
}

/** Freezes all that is pending of a customer, as a flush does; returns the sum per event name of what was frozen. */
export async function planAll(pool: Pool, customerId: string): Promise<ReadonlyMap<string, bigint>> {
  const lease = postgresLease(pool, LEASE);
  const grant = await lease.acquire("test", 60_000);
  if (grant === undefined) throw new Error("the lease is held");
  const planned = new Map<string, bigint>();
  await postgresReports(pool, LEASE, "v1").plan(
    grant,
    { customerId, includeOpen: true },
    undefined,
    10_000,
    (windows, nowMs) => {
      const reports = planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs });
      for (const { eventName, value } of reports) planned.set(eventName, (planned.get(eventName) ?? 0n) + value);
      return reports;
    },
  );
  await lease.release(grant);
  return planned;
}

/** Takes planned reports for accepted, as a settlement does. */
export async function acceptAll(pool: Pool, customerId: string): Promise<void> {
  await pool.query(
    `WITH settled AS (
       UPDATE report SET state = 'accepted', settled_at = now() WHERE customer_id = $1 AND state = 'planned'
       RETURNING window_start, event_name, payload, value
     )
     UPDATE pending_window p SET accepted = p.accepted + s.value
     FROM (SELECT window_start, event_name, payload, sum(value) AS value FROM settled GROUP BY 1, 2, 3) s
     WHERE p.customer_id = $1 AND p.window_start = s.window_start AND p.event_name = s.event_name AND p.payload = s.payload`,
    [customerId],
  );
}
