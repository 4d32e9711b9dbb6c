// Retries: reports that surely were not counted are replaced by others, of the same value, under identifiers of their own.
import { FINALIZATION_MARGIN_MS } from "../domain/late-usage.ts";
import type { PlanContext, PlannedReport, ReportKind } from "../domain/report.ts";
import { mayRetry, type ReplaceableReport, retryOf } from "../domain/report-retry.ts";
import { toJson } from "./json.ts";
import type { Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const CLOSED = sqlFile("report-closed");
const LOCK_WINDOWS = sqlFile("window-lock");
const LOCK_REPLACEABLE = sqlFile("report-lock-replaceable");
const SUPERSEDE = sqlFile("report-supersede");
const INSERT = sqlFile("report-insert");

/** Identifiers of up to `limit` reports that were never sent and whose period is closed. */
export async function findClosed(client: Queryable, limit: number): Promise<readonly string[]> {
  const found = await client.query<{ identifier: string }>(CLOSED, [limit, FINALIZATION_MARGIN_MS]);
  return found.rows.map((row) => row.identifier);
}

/**
 * Replaces those of the reports that are held or were never sent, in the caller's transaction; those whose fate is unknown are let be.
 * Returns the retries. A crash before the commit leaves everything as it was.
 *
 * 1. lock the reports: one that is being sent meanwhile is none of ours any more;
 * 2. lock their windows, after the reports as settling does, and read the next sequences;
 * 3. write: each gives way to its retry, which stands under the next sequence of its window.
 */
export async function replaceReports(
  client: Queryable,
  epoch: bigint,
  identifiers: readonly string[],
  context: Omit<PlanContext, "nowMs">,
): Promise<readonly PlannedReport[]> {
  if (identifiers.length === 0) return [];
  const locked = await client.query<ReplaceableRow>(LOCK_REPLACEABLE, [identifiers, FINALIZATION_MARGIN_MS]); // 1
  const replaceable = locked.rows.filter((row) => row.state === "planned" || mayRetry(row.reason));
  const keys = new Map(replaceable.map((row) => [keyOf(row), windowOf(row)]));
  const windows = await client.query<WindowKey & { next_sequence: number }>(LOCK_WINDOWS, [
    JSON.stringify([...keys.values()]),
  ]); // 2
  const nextSequences = new Map(windows.rows.map((row) => [keyOf(row), row.next_sequence]));
  const retries = replaceable.map((row) => {
    const nextSequence = nextSequences.get(keyOf(row)) ?? 0;
    nextSequences.set(keyOf(row), nextSequence + 1);
    return retryOf(toReplaceable(row, nextSequence), { ...context, nowMs: row.now.getTime() });
  });
  if (retries.length === 0) return [];
  await client.query(SUPERSEDE, [retries.map((retry) => retry.origin)]); // 3
  await client.query(INSERT, [epoch, toJson(retries)]);
  return retries;
}

interface WindowKey {
  readonly customer_id: string;
  readonly window_start: Date;
  readonly event_name: string;
  readonly payload: string;
}

interface ReplaceableRow extends WindowKey {
  readonly identifier: string;
  readonly kind: ReportKind;
  readonly origin: string | null;
  readonly stripe_customer_id: string;
  readonly sequence: number;
  readonly value: string;
  readonly event_timestamp: Date;
  readonly late: boolean;
  readonly state: "planned" | "held";
  readonly reason: string;
  readonly paying_customer_id: string;
  readonly period_closed: boolean;
  readonly period_open: boolean;
  readonly finalizes_at: Date | null;
  readonly now: Date;
}

function toReplaceable(row: ReplaceableRow, nextSequence: number): ReplaceableReport {
  return {
    identifier: row.identifier,
    kind: row.kind,
    origin: row.origin ?? undefined,
    customerId: row.customer_id,
    stripeCustomerId: row.stripe_customer_id,
    eventName: row.event_name,
    payload: row.payload,
    windowStartMs: row.window_start.getTime(),
    sequence: row.sequence,
    value: BigInt(row.value),
    timestampMs: row.event_timestamp.getTime(),
    late: row.late,
    state: row.state,
    reason: row.reason,
    payingCustomerId: row.paying_customer_id,
    nextSequence,
    periodClosed: row.period_closed,
    periodOpen: row.period_open,
    finalizesAtMs: row.finalizes_at?.getTime(),
  };
}

function windowOf({ customer_id, window_start, event_name, payload }: WindowKey): WindowKey {
  return { customer_id, window_start, event_name, payload };
}

function keyOf({ customer_id, window_start, event_name, payload }: WindowKey): string {
  return JSON.stringify([customer_id, window_start, event_name, payload]);
}
