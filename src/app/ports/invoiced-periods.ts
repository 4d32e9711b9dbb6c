// Periods whose invoices are final, compared with what was reported.
import type { InvoicedPeriod, PeriodClosing } from "../../domain/invoiced-period.ts";
import type { LeaseGrant } from "./reports.ts";

/** What one step of closing came to. */
export interface ClosingStep {
  readonly closed: number;
  /** Carried into open periods, or held; absolute quantities. */
  readonly carried: bigint;
  /** Periods that were billed more than was reported. */
  readonly exceeded: number;
}

export interface InvoicedPeriods {
  /**
   * Closes up to `limit` periods whose invoice is final and in which no report is on its way or not yet compared with Stripe's summaries,
   * in one transaction. `decide` is asked for each at the database's time; its reports are frozen, the bookings among them at once. A
   * period is closed again whenever a report begins or ceases to count in it. Rejects with StaleLeaseError as every leader's write.
   */
  close(
    grant: LeaseGrant,
    limit: number,
    decide: (period: InvoicedPeriod, nowMs: number) => PeriodClosing,
  ): Promise<ClosingStep>;
}
