// Retries: a report that will not be sent as it is, sent under an identifier of its own. Pure.
import { type BillingTime, place } from "./late-usage.ts";
import { HELD_OUTCOME_UNKNOWN, identifierOf, type PlanContext, type PlannedReport, type Report } from "./report.ts";

/** A report that may be replaced, and what its window and customer are now. */
export interface ReplaceableReport extends Report, Omit<BillingTime, "windowStartMs"> {
  readonly state: "planned" | "held";
  readonly reason: string;
  /**
   * The Stripe customer to send it to: of a held one the one that is mapped now, since a mapping may have been mended; of a planned one its own,
   * so that it goes where what was planned before and after it goes.
   */
  readonly payingCustomerId: string;
  readonly nextSequence: number;
  readonly finalizesAtMs: number | undefined;
}

/**
 * The report to be sent instead: same value, next sequence. Its event keeps its time while that can be billed, else it is late usage, as
 * the policy says. `report` must surely not have been counted: see mayRetry.
 */
export function retryOf(report: ReplaceableReport, context: PlanContext): PlannedReport {
  const { timestampMs, periodClosed, periodOpen } = report;
  // What was late before keeps the time it was given, as long as that will do.
  const placement = place({ windowStartMs: timestampMs, periodClosed, periodOpen }, context.lateUsage, context.nowMs);
  const { customerId, eventName, payload, windowStartMs, nextSequence, value } = report;
  return {
    identifier: identifierOf(context.deploymentId, report, nextSequence),
    kind: "retry",
    origin: report.identifier,
    customerId,
    stripeCustomerId: report.payingCustomerId,
    eventName,
    payload,
    windowStartMs,
    sequence: nextSequence,
    value,
    ...placement,
    late: placement.late || report.late,
    finalizesAtMs: placement.late ? undefined : report.finalizesAtMs,
  };
}

/** Whether a held report may be retried: not while nobody knows whether it was counted. */
export function mayRetry(reason: string): boolean {
  return reason !== HELD_OUTCOME_UNKNOWN;
}
