// A row of the outbox.
import type { SinkName } from "../../../src/app/ports/reports.ts";
import { HELD_OUTCOME_UNKNOWN, type PlannedReport, type ReportState } from "../../../src/domain/report.ts";

export interface ReportRow extends Omit<PlannedReport, "finalizesAtMs" | "heldFor"> {
  finalizesAtMs: number | undefined;
  state: ReportState;
  reason: string;
  attempts: number;
  firstAttemptMs: number | undefined;
  nextAttemptMs: number;
  readonly plannedMs: number;
  settledMs: number | undefined;
  reconciledMs: number | undefined;
  leaseEpoch: bigint;
  sink: SinkName | "";
}

export function isOpen({ state }: Pick<ReportRow, "state">): boolean {
  return state === "planned" || state === "sending" || state === "unknown";
}

/** Counted by Stripe, or on its way there, or of unknown fate; as a booking, too. */
export function mayCount({ state, reason }: ReportRow): boolean {
  return state !== "superseded" && (state !== "held" || reason === HELD_OUTCOME_UNKNOWN);
}

/** What is frozen of a report. */
export function reportOf(row: ReportRow) {
  const {
    identifier,
    kind,
    origin,
    customerId,
    stripeCustomerId,
    eventName,
    payload,
    windowStartMs,
    sequence,
    value,
    timestampMs,
    late,
  } = row;
  return {
    identifier,
    kind,
    origin,
    customerId,
    stripeCustomerId,
    eventName,
    payload,
    windowStartMs,
    sequence,
    value,
    timestampMs,
    late,
  };
}
