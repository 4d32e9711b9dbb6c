// Invoiced periods: what a final invoice left out is carried into the period that is open. Pure.
import { HELD_LATE, HELD_NO_OPEN_PERIOD } from "./late-usage.ts";
import { identifierOf, type PendingWindow, type PlanContext, type PlannedReport, splitValue } from "./report.ts";

/** A period of a customer's meter whose invoice is final, and in which every report has come to its end. */
export interface InvoicedPeriod {
  readonly stripeCustomerId: string;
  readonly eventName: string;
  /** Half-open. */
  readonly startMs: number;
  readonly endMs: number;
  /** What the invoice says. Never negative: Stripe bills nothing where usage is below zero. */
  readonly billed: bigint;
  /** What Stripe counted in the period as far as is known, less what was carried out of it already. */
  readonly counted: bigint;
  /** Of that, what was taken back and may have been counted after the invoice was final: the sum of negative reports. Never positive. */
  readonly takenBackLate: bigint;
  /** The window of the report that was accepted last: what is carried is reported under its next sequences. */
  readonly window: Pick<PendingWindow, "customerId" | "eventName" | "payload" | "windowStartMs" | "nextSequence">;
  /** Whether some subscription of the customer lives, or none was ever heard of. */
  readonly periodOpen: boolean;
}

export interface PeriodClosing {
  /** Bookings that take the quantity out of the period, and reports that carry it on; they add up to 0. */
  readonly reports: readonly PlannedReport[];
  /** Billed beyond what was reported, and not by what was taken back too late: nothing is done about it here. */
  readonly excess: bigint;
}

/**
 * What Stripe counts in a period after its invoice is final is on no invoice, ever. The difference is taken out of the period and carried
 * into the one that is open, or held where the policy says so: what was taken back too late as well, so that the next invoice bills so much
 * less. A sum below zero was billed as zero, so all of it is carried.
 */
export function closePeriod(period: InvoicedPeriod, context: PlanContext): PeriodClosing {
  const { counted, billed, takenBackLate } = period;
  const missed = counted - billed;
  const carried = missed < 0n && counted >= 0n && missed < takenBackLate ? takenBackLate : missed;
  const values = splitValue(carried);
  const heldFor = carryHeldFor(period, context);
  const nowMs = Math.floor(context.nowMs / 1000) * 1000;
  const reports = [
    ...values.map((value) => ({ kind: "unbilled", value: -value, timestampMs: period.startMs, late: false }) as const),
    ...values.map((value) => ({ kind: "carry", value, timestampMs: nowMs, late: true, heldFor }) as const),
  ];
  const { nextSequence, ...window } = period.window;
  return {
    reports: reports.map((report, i) => ({
      ...window,
      stripeCustomerId: period.stripeCustomerId,
      identifier: identifierOf(context.deploymentId, window, nextSequence + i),
      sequence: nextSequence + i,
      origin: undefined,
      heldFor: undefined,
      finalizesAtMs: undefined,
      ...report,
    })),
    excess: carried - missed,
  };
}

function carryHeldFor({ periodOpen }: InvoicedPeriod, { lateUsage }: PlanContext): string | undefined {
  if (lateUsage === "hold") return HELD_LATE;
  return periodOpen ? undefined : HELD_NO_OPEN_PERIOD;
}
