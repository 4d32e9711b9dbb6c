// What the service says at the end: its windows, its reports, and what it has not come to the end of.
import type { Pool } from "../src/postgres/pool.ts";

export interface WindowRow {
  readonly customerId: string;
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly total: bigint;
  readonly reported: bigint;
  readonly accepted: bigint;
}

export interface ReportRow {
  readonly identifier: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly customerId: string;
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly windowStartMs: number;
  readonly timestampMs: number;
  readonly value: bigint;
  readonly late: boolean;
  readonly attempts: number;
  readonly plannedMs: number;
}

export interface DriftRow {
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly expected: string;
  readonly counted: string;
  /** Explanation, state and hindrance, as text. */
  readonly what: string;
  readonly foundMs: number;
}

export interface LedgerReading {
  readonly windows: readonly WindowRow[];
  readonly reports: readonly ReportRow[];
  readonly drifts: readonly DriftRow[];
  /** What final invoices bill beyond what was reported, as the service lists it. By invoice, event name and start, as "in_1 llm_input 0". */
  readonly excesses: ReadonlyMap<string, bigint>;
  /** Kinds of unfinished business that must be none in the end, and how much there is of each. */
  readonly unfinished: Readonly<Record<string, number>>;
}

const WINDOWS = `SELECT customer_id, event_name, window_start, window_end, total, reported, accepted FROM pending_window
  ORDER BY customer_id, event_name, window_start`;
const REPORTS = `SELECT identifier, kind, state, reason, customer_id, stripe_customer_id, event_name, window_start, event_timestamp, value,
  late, attempts, planned_at FROM report ORDER BY customer_id, event_name, planned_at, window_start, sequence`;
const DRIFTS = `SELECT stripe_customer_id, event_name, span_start, span_end, expected, counted, found_at,
  concat_ws(' ', explanation, state, hindrance) AS what FROM drift ORDER BY drift_id`;
const EXCESSES = "SELECT invoice_id, event_name, period_start, excess FROM invoiced_period WHERE excess > 0";
const UNFINISHED = `SELECT
  (SELECT count(*) FROM report WHERE state IN ('planned', 'sending', 'unknown', 'sent')) AS "open reports",
  (SELECT count(*) FROM stripe_event WHERE state = 'received') AS "webhooks not applied",
  (SELECT count(*) FROM stripe_event WHERE state = 'dead') AS "webhooks given up",
  (SELECT count(*) FROM flush_request WHERE done_at IS NULL) AS "flush requests",
  (SELECT count(*) FROM reconcile_request) AS "reconcile requests"`;

export async function readLedger(pool: Pool): Promise<LedgerReading> {
  const windows = await pool.query<Record<string, string> & { window_start: Date; window_end: Date }>(WINDOWS);
  const reports = await pool.query(REPORTS);
  const drifts = await pool.query(DRIFTS);
  const excesses = await pool.query(EXCESSES);
  const unfinished = await pool.query<Record<string, string>>(UNFINISHED);
  return {
    windows: windows.rows.map((row) => ({
      customerId: String(row["customer_id"]),
      eventName: String(row["event_name"]),
      startMs: row.window_start.getTime(),
      endMs: row.window_end.getTime(),
      total: BigInt(row["total"] ?? 0),
      reported: BigInt(row["reported"] ?? 0),
      accepted: BigInt(row["accepted"] ?? 0),
    })),
    reports: reports.rows.map((row) => ({
      identifier: row.identifier,
      kind: row.kind,
      state: row.state,
      reason: row.reason,
      customerId: row.customer_id,
      stripeCustomerId: row.stripe_customer_id,
      eventName: row.event_name,
      windowStartMs: row.window_start.getTime(),
      timestampMs: row.event_timestamp.getTime(),
      value: BigInt(row.value),
      late: row.late,
      attempts: row.attempts,
      plannedMs: row.planned_at.getTime(),
    })),
    drifts: drifts.rows.map((row) => ({
      stripeCustomerId: row.stripe_customer_id,
      eventName: row.event_name,
      startMs: row.span_start.getTime(),
      endMs: row.span_end.getTime(),
      expected: row.expected,
      counted: row.counted,
      what: row.what,
      foundMs: row.found_at.getTime(),
    })),
    excesses: new Map(
      excesses.rows.map((row) => [
        `${row.invoice_id} ${row.event_name} ${row.period_start.getTime()}`,
        BigInt(row.excess),
      ]),
    ),
    unfinished: Object.fromEntries(
      Object.entries(unfinished.rows[0] ?? {}).map(([name, count]) => [name, Number(count)]),
    ),
  };
}
