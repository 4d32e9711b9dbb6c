// The closing of invoiced periods, as one transaction at one instant.
import type { ClosingStep } from "../../../src/app/ports/invoiced-periods.ts";
import type { LeaseGrant } from "../../../src/app/ports/reports.ts";
import type { InvoicedPeriod, PeriodClosing } from "../../../src/domain/invoiced-period.ts";
import { FINALIZATION_MARGIN_MS } from "../../../src/domain/late-usage.ts";
import { compareText } from "../../../src/domain/usage-record.ts";
import type { Billing, InvoicedPeriodRow } from "./billing.ts";
import type { ModelLease } from "./lease.ts";
import { type ModelLedger, windowName } from "./ledger.ts";
import type { ModelOutbox } from "./outbox.ts";
import { isOpen, type ReportRow } from "./report-row.ts";

export interface PeriodsOptions {
  readonly nowMs: () => number;
  readonly lease: ModelLease;
  readonly ledger: ModelLedger;
  readonly outbox: ModelOutbox;
  readonly billing: Billing;
}

export class ModelInvoicedPeriods {
  readonly #options: PeriodsOptions;

  constructor(options: PeriodsOptions) {
    this.#options = options;
  }

  /** Whether something is left to be compared, or carried on, in a period whose invoice is final. */
  isClosable(period: InvoicedPeriodRow): boolean {
    if (period.billed === undefined || period.closed) return false;
    return !this.#reportsIn(period).some(
      (r) => isOpen(r) || r.state === "sent" || (r.state === "accepted" && r.reconciledMs === undefined),
    );
  }

  close(
    grant: LeaseGrant,
    limit: number,
    decide: (period: InvoicedPeriod, nowMs: number) => PeriodClosing,
  ): ClosingStep {
    const { lease, billing, outbox, nowMs } = this.#options;
    lease.fence(grant);
    const closable = billing.periods
      .filter((period) => this.isClosable(period))
      .sort((a, b) => a.endMs - b.endMs)
      .slice(0, limit);
    const step = { closed: 0, carried: 0n, exceeded: 0 };
    for (const period of closable) {
      const { reports, excess } = decide(this.#toPeriod(period), nowMs());
      outbox.insert(grant.epoch, reports);
      // Bookings count in the period, and so open it again for a moment.
      period.closed = true;
      step.closed += 1;
      if (excess > 0n) step.exceeded += 1;
      for (const { kind, value } of reports) if (kind === "carry") step.carried += value < 0n ? -value : value;
    }
    return step;
  }

  #reportsIn({ stripeCustomerId, eventName, startMs, endMs }: InvoicedPeriodRow): ReportRow[] {
    return [...this.#options.outbox.reports.values()].filter(
      (r) =>
        r.stripeCustomerId === stripeCustomerId &&
        r.eventName === eventName &&
        startMs <= r.timestampMs &&
        r.timestampMs < endMs,
    );
  }

  #toPeriod(period: InvoicedPeriodRow): InvoicedPeriod {
    const { ledger, billing } = this.#options;
    const { stripeCustomerId, eventName, startMs, endMs } = period;
    const accepted = this.#reportsIn(period).filter(({ state }) => state === "accepted");
    const [last] = accepted.sort(
      (a, b) => (b.settledMs ?? 0) - (a.settledMs ?? 0) || compareText(a.identifier, b.identifier),
    );
    const key = last ?? {
      customerId: billing.customerOf(stripeCustomerId),
      eventName,
      payload: "{}",
      windowStartMs: startMs,
    };
    const { customerId, payload, windowStartMs } = key;
    const nextSequence = ledger.windows.get(windowName(key))?.nextSequence ?? 0;
    return {
      stripeCustomerId,
      eventName,
      startMs,
      endMs,
      billed: period.billed ?? 0n,
      counted: accepted.reduce((sum, { value }) => sum + value, 0n),
      takenBackLate: accepted
        .filter(({ kind, value }) => value < 0n && kind !== "drift" && kind !== "unbilled")
        .filter(({ settledMs }) => (settledMs ?? 0) >= (period.finalizedMs ?? 0) - FINALIZATION_MARGIN_MS)
        .reduce((sum, { value }) => sum + value, 0n),
      window: { customerId, eventName, payload, windowStartMs, nextSequence },
      periodOpen: true,
    };
  }
}
