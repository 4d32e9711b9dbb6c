// A violation told with what happened to the customer: invoices, and reports that are not plain, oldest first.
import type { EventName } from "./catalog.ts";
import type { KnownCustomer, Violation } from "./checks.ts";
import type { LedgerReading } from "./ledger-reading.ts";
import type { StripeReading } from "./stripe-reading.ts";

const LINES_MAX = 40;

/** One text for each customer and Stripe meter that something is wrong with, and one for each thing that is nobody's. */
export function withHistories(
  violations: readonly Violation[],
  ledger: LedgerReading,
  stripe: StripeReading,
): string[] {
  const byLane = Map.groupBy(violations, ({ customer, eventName }) => `${customer?.customerId} ${eventName}`);
  return [...byLane.values()].flatMap((found) => {
    const [first] = found;
    const messages = found.map(({ message }) => message);
    if (first?.customer === undefined || first.eventName === undefined) return messages;
    const { customer, eventName } = first;
    return [
      [`${customer.customerId} ${eventName}:`, ...messages, ...history(customer, eventName, ledger, stripe)].join(
        "\n  ",
      ),
    ];
  });
}

function history(
  { customerId, stripeCustomerId }: KnownCustomer,
  eventName: EventName,
  ledger: LedgerReading,
  stripe: StripeReading,
): string[] {
  const periods = (stripe.periods.get(`${stripeCustomerId} ${eventName}`) ?? []).map((period) => {
    const state = period.billed === undefined ? "open" : `billed ${period.billed}`;
    return `  period ${at(period.startMs)} to ${at(period.endMs)}: ${period.invoiceId} ${state}`;
  });
  const counted = new Map(stripe.events.map((event) => [event.identifier, event]));
  const reports = ledger.reports
    .filter((row) => row.customerId === customerId && row.eventName === eventName)
    .map((row) => ({ row, event: counted.get(row.identifier) }))
    .filter(
      ({ row, event }) => row.kind !== "usage" || row.state !== "accepted" || row.late || event?.fate !== "counted",
    )
    .map(({ row, event }) => {
      const time = row.timestampMs === row.windowStartMs ? "" : ` as of ${at(row.timestampMs)}`;
      const seen = event === undefined ? "not at Stripe" : `${event.fate} by Stripe at ${at(event.received_ms)}`;
      return (
        `  ${row.kind} ${row.value} of ${at(row.windowStartMs)}${time}, planned ${at(row.plannedMs)}, ${row.state} ${row.reason} after ` +
        `${row.attempts} attempts, ${seen}: ${row.identifier}`
      );
    });
  const shown = reports.slice(0, LINES_MAX);
  const more = reports.length > shown.length ? [`  and ${reports.length - shown.length} reports more`] : [];
  const drifts = ledger.drifts
    .filter((row) => row.stripeCustomerId === stripeCustomerId && row.eventName === eventName)
    .map(({ startMs, endMs, expected, counted, what, foundMs }) => {
      return `  drift of ${at(startMs)} to ${at(endMs)}: expected ${expected}, counted ${counted}, found ${at(foundMs)}: ${what}`;
    });
  return [...periods, ...shown, ...more, ...drifts];
}

function at(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 19);
}
