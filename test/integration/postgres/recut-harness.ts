// What the tests of recut share: a ledger whose customers' boundaries become known, and all that it holds of a customer.
import { afterAll, beforeAll } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { planReports } from "../../../src/domain/report.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { learnBoundaries } from "../../support/boundaries.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

export const SHARDS = 4;
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const QUARTER_HOUR = 15 * MINUTE;
export const DAY = 96 * QUARTER_HOUR;
/** A UTC midnight; windows around it exercise the change of day as well. */
export const MIDNIGHT = Date.UTC(2026, 9, 12);

export const warnings: object[] = [];
const logger = {
  debug() {},
  info() {},
  warn(fields: object) {
    warnings.push(fields);
  },
  error() {},
};

export let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
});
afterAll(() => database.close());

let customers = 0;
export const newCustomer = () => `cus_recut${customers++}`;

export function ledgerOf(catalog: MeterCatalog = testCatalog()) {
  return postgresLedger(database.pool, catalog, SHARDS);
}

export async function learn(customerId: string, boundariesMs: readonly number[], catalog = testCatalog()) {
  await learnBoundaries(database.pool, { catalog, shardCount: SHARDS, logger }, customerId, boundariesMs);
}

export async function rollupsOf(customerId: string, table: "rollup_quarter_hour" | "rollup_day") {
  const result = await database.pool.query(
    `SELECT to_char(window_start AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS start, meter, api_key_id, labels, quantity, record_count
     FROM ${table} r JOIN series s USING (customer_id, series_id)
     WHERE r.customer_id = $1 ORDER BY window_start, meter, api_key_id, labels`,
    [customerId],
  );
  return result.rows;
}

/** Rows that hold something: a first piece that was left empty stays for the sake of what was reported under it. */
export async function pendingOf(customerId: string) {
  const result = await database.pool.query(
    `SELECT to_char(window_start AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS start, event_name,
       extract(epoch FROM window_end - window_start)::integer AS seconds, total
     FROM pending_window WHERE customer_id = $1 AND total <> 0 ORDER BY window_start, event_name, payload COLLATE "C"`,
    [customerId],
  );
  return result.rows;
}

export async function everythingOf(customerId: string) {
  return {
    quarterHours: await rollupsOf(customerId, "rollup_quarter_hour"),
    days: await rollupsOf(customerId, "rollup_day"),
    pending: await pendingOf(customerId),
  };
}

/** Freezes all that is pending into reports, as a flush does, and takes them for accepted. */
export async function reportAll(customerId: string): Promise<void> {
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

export async function reportedOf(customerId: string) {
  const result = await database.pool.query(
    `SELECT event_name, sum(total)::text AS total, sum(reported)::text AS reported, sum(total - reported)::text AS due
     FROM pending_window WHERE customer_id = $1 GROUP BY event_name ORDER BY event_name`,
    [customerId],
  );
  return result.rows;
}

/** Rules of other weights, names, payloads and labels: what each record added follows from those of its time alone. */
export const CATALOGS: readonly MeterCatalog[] = [
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
