// Closing: what Stripe counted after an invoice was final is carried into the period that is open. The leader's work, beside the flush.
import { closePeriod } from "../domain/invoiced-period.ts";
import type { PlanContext } from "../domain/report.ts";
import type { Tenure } from "./hold-lease.ts";
import type { InvoicedPeriods } from "./ports/invoiced-periods.ts";
import type { Logger } from "./ports/logger.ts";

export interface ClosePeriodsOptions {
  readonly periods: InvoicedPeriods;
  readonly context: Omit<PlanContext, "nowMs">;
  readonly logger: Logger;
}

/** Periods closed in one transaction. */
const BATCH = 100;

/** Closes all that can be closed now. Each step is one transaction, so a crash leaves the rest to the next pass. */
export async function closePeriods({ periods, context, logger }: ClosePeriodsOptions, tenure: Tenure): Promise<void> {
  for (let closed = BATCH; closed === BATCH && tenure.mayBegin(); ) {
    const step = await periods.close(tenure.grant, BATCH, (period, nowMs) =>
      closePeriod(period, { ...context, nowMs }),
    );
    closed = step.closed;
    if (step.carried > 0n) logger.warn({ quantity: String(step.carried) }, "usage missed its invoice; carried on");
    if (step.exceeded > 0) logger.error({ periods: step.exceeded }, "invoices bill more than was reported");
  }
}
