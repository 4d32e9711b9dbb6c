// The statements, on a database of virtual time.

import type { VirtualDatabase } from "../../../simulation/virtual-database.ts";
import type { InvoicedPeriods } from "../../../src/app/ports/invoiced-periods.ts";
import type { Reconciliation } from "../../../src/app/ports/reconciliation.ts";
import type { ClaimedReport, FlushRequests, Lease, LeaseGrant, Reports } from "../../../src/app/ports/reports.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresFlushRequests } from "../../../src/postgres/flush-requests.ts";
import { postgresInvoicedPeriods } from "../../../src/postgres/invoiced-periods.ts";
import { saveInvoice, setDeadlines } from "../../../src/postgres/invoices.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { inTransaction, type Pool } from "../../../src/postgres/pool.ts";
import { postgresReconciliation } from "../../../src/postgres/reconciliation.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { BOUNDARIES, CUSTOMERS, LAG_MS } from "./operations.ts";
import { inOrder, type PeriodState, type Rows, type Side } from "./side.ts";

const LEASE = "flush";
const MS = (column: string) => `floor(extract(epoch FROM ${column}) * 1000)::bigint`;

/** Each gives one JSON array a row. */
const ROWS = {
  reports: `SELECT json_build_array(identifier, stripe_customer_id, kind, value::text, ${MS("event_timestamp")}, late, state, reason, attempts, sink,
      ${MS("first_attempt_at")}, ${MS("next_attempt_at")}, ${MS("settled_at")}, ${MS("reconciled_at")}, ${MS("finalizes_at")}) AS row FROM report`,
  windows: `SELECT json_build_array(customer_id, event_name, ${MS("window_start")}, total::text, reported::text, accepted::text,
      next_sequence) AS row FROM pending_window`,
  drifts: `SELECT json_build_array(stripe_customer_id, event_name, ${MS("span_start")}, ${MS("span_end")}, expected::text, counted::text,
      explanation, state, CASE WHEN state = 'open' THEN json_build_array(hindrance, ${MS("found_at")}, ${MS("look_at")}) ELSE '[]' END)
      AS row FROM drift`,
  hours: `SELECT json_build_array(stripe_customer_id, event_name, ${MS("span_start")}, ${MS("requested_at")}) AS row FROM reconcile_request`,
  periods: `SELECT json_build_array(stripe_customer_id, event_name, ${MS("period_start")}, billed::text, closed_at IS NOT NULL) AS row
      FROM invoiced_period`,
  requests: `SELECT json_build_array(request_id, ${MS("planned_at")}, done_at IS NOT NULL) AS row FROM flush_request`,
};

export class PostgresSide implements Side {
  readonly reports: Reports;
  readonly requests: FlushRequests;
  readonly lease: Lease;
  readonly reconciliation: Reconciliation;
  readonly periods: InvoicedPeriods;
  readonly grants: LeaseGrant[] = [];
  claimed: readonly ClaimedReport[] = [];
  readonly #database: VirtualDatabase;
  readonly #pool: Pool;
  #nowMs = 0;

  private constructor(database: VirtualDatabase, pool: Pool) {
    this.#database = database;
    this.#pool = pool;
    this.reports = postgresReports(pool, LEASE, "v1");
    this.requests = postgresFlushRequests(pool, LEASE);
    this.lease = postgresLease(pool, LEASE);
    this.reconciliation = postgresReconciliation(pool, LEASE, LAG_MS);
    this.periods = postgresInvoicedPeriods(pool, LEASE);
  }

  static async open(database: VirtualDatabase): Promise<PostgresSide> {
    const pool = database.connect("contract");
    await openDeployment(pool, 2, "postgres");
    for (const customerId of CUSTOMERS)
      for (const ms of BOUNDARIES)
        await pool.query("INSERT INTO period_boundary (customer_id, boundary) VALUES ($1, $2)", [
          customerId,
          new Date(ms),
        ]);
    return new PostgresSide(database, pool);
  }

  nowMs(): number {
    return this.#nowMs;
  }

  async moveTo(nowMs: number): Promise<void> {
    this.#nowMs = nowMs;
    await this.#database.moveTo(nowMs);
  }

  async addUsage(customerId: string, eventName: string, windowStartMs: number, quantity: bigint): Promise<void> {
    await this.#pool.query(
      `INSERT INTO pending_window AS p (customer_id, window_start, event_name, window_end, total) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (customer_id, window_start, event_name, payload) DO UPDATE SET total = p.total + excluded.total`,
      [customerId, new Date(windowStartMs), eventName, new Date(windowStartMs + 60_000), quantity],
    );
  }

  async saveInvoice({ stripeCustomerId, eventName, startMs, endMs, finalizesMs, billed }: PeriodState): Promise<void> {
    const isFinal = billed !== undefined;
    const state = {
      invoiceId: `in_${stripeCustomerId}_${eventName}_${startMs}`,
      stripeCustomerId,
      subscriptionId: "sub",
      status: isFinal ? "open" : "draft",
      finalizesMs: isFinal ? undefined : finalizesMs,
      finalizedMs: isFinal ? finalizesMs : undefined,
      lines: [{ subscriptionItem: "si", eventName, startMs, endMs, quantity: billed ?? 0n }],
    };
    const periods = await inTransaction(this.#pool, (client) => saveInvoice(client, state, undefined));
    await setDeadlines(this.#pool, LEASE, periods);
  }

  async map(customerId: string, stripeCustomerId: string): Promise<void> {
    await this.#pool.query(
      `INSERT INTO account (customer_id, stripe_customer_id, source) VALUES ($1, $2, 'operator')
       ON CONFLICT (customer_id) DO UPDATE SET stripe_customer_id = excluded.stripe_customer_id`,
      [customerId, stripeCustomerId],
    );
  }

  async rows(): Promise<Rows> {
    const rows: Record<string, readonly (readonly unknown[])[]> = {};
    for (const [name, query] of Object.entries(ROWS)) {
      const result = await this.#pool.query<{ row: unknown[] }>(query);
      rows[name] = inOrder(result.rows.map(({ row }) => row));
    }
    return rows;
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
}
