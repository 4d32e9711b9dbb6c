// Goes through the ledger, customer by customer and day by day: the use case behind `metering verify` and `metering rebuild`.
import type { Interval } from "../domain/window.ts";
import type { AuditLedger } from "./ports/audit.ts";

/** What to look at. */
export interface AuditScope {
  /** Undefined: all. */
  readonly customerId: string | undefined;
  /** Of whole UTC days. */
  readonly interval: Interval;
}

/** A day of a customer, to be looked at. */
export interface CustomerDay {
  readonly customerId: string;
  readonly dayMs: number;
  /** Customers begun so far, this one included. */
  readonly customers: number;
}

/** Customers read at a time; all that is kept in memory beside one day's sums. */
const CUSTOMERS_PAGE = 200;

/**
 * All days that hold anything, one customer after the other. What comes new to a customer meanwhile may be in or not; each day by itself is
 * always looked at as of one instant. Ends with the signal. Cost: some index look-ups a customer and day.
 */
export async function* customerDays(
  ledger: AuditLedger,
  scope: AuditScope,
  signal: AbortSignal,
): AsyncGenerator<CustomerDay> {
  let customers = 0;
  for await (const customerId of customersOf(ledger, scope)) {
    customers += 1;
    for (const dayMs of await ledger.days(customerId, scope.interval)) {
      if (signal.aborted) return;
      yield { customerId, dayMs, customers };
    }
  }
}

async function* customersOf(ledger: AuditLedger, { customerId, interval }: AuditScope): AsyncGenerator<string> {
  if (customerId !== undefined) {
    yield customerId;
    return;
  }
  let after: string | undefined;
  for (;;) {
    const page = await ledger.customers(interval, after, CUSTOMERS_PAGE);
    yield* page;
    after = page.at(-1);
    if (page.length < CUSTOMERS_PAGE) return;
  }
}
