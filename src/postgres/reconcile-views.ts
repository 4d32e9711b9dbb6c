// Spans of a customer's meter as they are known in one transaction.
import type { MeteredCustomer, Reading } from "../app/ports/reconciliation.ts";
import type { SpanReport, ValidationError } from "../domain/explain-drift.ts";
import type { FinalPeriod, SpanView } from "../domain/reconcile.ts";
import type { ReportKind, ReportState } from "../domain/report.ts";
import type { Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const REPORTS = sqlFile("reconcile-reports");
const CONTEXT = sqlFile("reconcile-context");

/** Clocks differ, and validation comes a little after a send: error reports so far from all sends are not even looked at. */
const ERROR_SLACK_MS = 600_000;

/** One view a reading, in order. Two round trips, whatever their number. */
export async function readSpans(
  client: Queryable,
  of: MeteredCustomer,
  readAtMs: number,
  readings: readonly Reading[],
): Promise<readonly SpanView[]> {
  const { stripeCustomerId, eventName } = of;
  const found = await client.query<ReportRow>(REPORTS, [stripeCustomerId, eventName, spansJson(readings)]);
  const reports = found.rows.map(toSpanReport);
  const sent = reports.flatMap(({ firstAttemptMs, settledMs }) =>
    firstAttemptMs === undefined ? [] : [{ firstMs: firstAttemptMs, lastMs: settledMs ?? firstAttemptMs }],
  );
  const result = await client.query<ContextRow>(CONTEXT, [
    stripeCustomerId,
    eventName,
    new Date(least(readings.map(({ startMs }) => startMs)) ?? 0),
    new Date(greatest(readings.map(({ endMs }) => endMs)) ?? 0),
    toDate(least(sent.map(({ firstMs }) => firstMs)), -ERROR_SLACK_MS),
    toDate(greatest(sent.map(({ lastMs }) => lastMs)), ERROR_SLACK_MS),
  ]);
  const context = result.rows[0];
  if (context === undefined) throw new Error("the context query returned no row");
  return readings.map((reading) => toView(of, readAtMs, reading, reports, context));
}

/** As the queries take spans. */
export function spansJson(readings: readonly Reading[]): string {
  return JSON.stringify(readings.map(({ startMs, endMs }) => ({ startMs, endMs })));
}

interface ReportRow {
  identifier: string;
  kind: ReportKind;
  origin: string | null;
  customer_id: string;
  stripe_customer_id: string;
  event_name: string;
  payload: string;
  window_start: Date;
  sequence: number;
  value: string;
  event_timestamp: Date;
  late: boolean;
  state: ReportState;
  reason: string;
  first_attempt_at: Date | null;
  settled_at: Date | null;
}

interface DriftJson {
  readonly startMs: number;
  readonly endMs: number;
  readonly expected: string;
  readonly counted: string;
  readonly foundAtMs: number;
}

interface DraftJson {
  readonly startMs: number;
  readonly endMs: number;
  readonly finalizesAtMs: number;
}

interface ContextRow {
  customer_id: string;
  now: Date;
  boundaries: Date[];
  drafts: DraftJson[];
  finals: FinalPeriod[];
  drifts: DriftJson[];
  errors: ValidationError[];
}

function toView(
  of: MeteredCustomer,
  readAtMs: number,
  { startMs, endMs, counted }: Reading,
  reports: readonly SpanReport[],
  context: ContextRow,
): SpanView {
  const open = context.drifts.find((drift) => drift.startMs === startMs && drift.endMs === endMs);
  return {
    stripeCustomerId: of.stripeCustomerId,
    eventName: of.eventName,
    startMs,
    endMs,
    counted,
    readAtMs,
    nowMs: context.now.getTime(),
    customerId: context.customer_id,
    reports: reports.filter(({ timestampMs }) => startMs <= timestampMs && timestampMs < endMs),
    boundariesMs: context.boundaries.map((b) => b.getTime()).filter((ms) => startMs < ms && ms < endMs),
    errors: context.errors,
    drafts: context.drafts,
    finals: context.finals,
    open: open && { expected: BigInt(open.expected), counted: BigInt(open.counted), foundAtMs: open.foundAtMs },
  };
}

function toSpanReport(row: ReportRow): SpanReport {
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
    firstAttemptMs: row.first_attempt_at?.getTime(),
    settledMs: row.settled_at?.getTime(),
  };
}

function toDate(ms: number | undefined, offsetMs: number): Date | null {
  return ms === undefined ? null : new Date(ms + offsetMs);
}

function least(numbers: readonly number[]): number | undefined {
  return numbers.reduce<number | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined);
}

function greatest(numbers: readonly number[]): number | undefined {
  return numbers.reduce<number | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined);
}
