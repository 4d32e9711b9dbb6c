// What an oracle wants to know of the account: exact sums, and every event that was accepted.
import { renderCustomer } from "../billing/customers.ts";
import { renderInvoice } from "../billing/invoice.ts";
import { renderSubscription } from "../billing/subscription.ts";
import type { Account } from "../state/account.ts";
import type { Settings } from "../state/settings.ts";
import { formatQuantity } from "../usage/quantity.ts";
import type { AcceptedEvent, Inlet } from "../usage/usage-book.ts";
import type { DeliveryAttempt } from "../webhooks/delivery.ts";
import type { Conduct } from "../webhooks/delivery-conduct.ts";
import { renderEndpoint } from "../webhooks/endpoints.ts";
import type { Fault } from "./faults.ts";

/** The counted sum of a meter and customer, exact, as text: "-12", "0.5". */
export interface UsageTotal {
  readonly customer: string;
  readonly event_name: string;
  readonly meter: string;
  readonly sum: string;
}

/** An accepted meter event. `times_accepted` over 1 means that its identifier was counted again after it had expired. */
export interface InspectedMeterEvent {
  readonly identifier: string;
  readonly event_name: string;
  readonly customer: string;
  readonly value: string;
  readonly timestamp: number;
  readonly inlet: Inlet;
  readonly received_ms: number;
  readonly fate: AcceptedEvent["fate"];
  readonly times_accepted: number;
  readonly payload: Readonly<Record<string, string>>;
}

/** What the account holds, as Stripe renders it, apart from the meter events themselves. */
export interface AccountState {
  readonly counts: Readonly<Record<string, number>>;
  readonly totals: readonly UsageTotal[];
  readonly customers: readonly object[];
  readonly meters: readonly object[];
  readonly subscriptions: readonly object[];
  readonly invoices: readonly object[];
  readonly webhook_endpoints: readonly object[];
  /** What became of the events that were taken unchecked, and how many wait. */
  readonly asynchronous: Readonly<
    Record<"taken" | "counted" | "duplicate" | "rejected" | "dropped" | "waiting", number>
  >;
  readonly settings: Settings;
}

/** The state of a running simulator. */
export interface SimulatorState extends AccountState {
  readonly simulated: true;
  readonly now_ms: number;
  /** `next` counts what is left. */
  readonly faults: { readonly rules: readonly Fault[]; readonly struck: number };
  /** Answers so far, by route and status; `reset` and `truncated` for those cut off. */
  readonly answered: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly deliveries: {
    readonly waiting: number;
    readonly attempts: readonly DeliveryAttempt[];
    readonly conduct: Conduct;
  };
}

export function inspectAccount(account: Account): AccountState {
  const counts: Record<string, number> = {
    meter_events: account.usage.events.length,
    thin_events: account.thinEvents.size,
  };
  for (const name of ["customers", "meters", "products", "prices", "subscriptions", "invoices", "events"] as const) {
    counts[name] = account[name].size;
  }
  return {
    counts,
    totals: usageTotals(account),
    customers: [...account.customers.values()].map(renderCustomer),
    meters: [...account.meters.values()],
    subscriptions: [...account.subscriptions.values()].map(renderSubscription),
    invoices: [...account.invoices.values()].map((invoice) => renderInvoice(account, invoice)),
    webhook_endpoints: [...account.endpoints.values()].map(renderEndpoint),
    asynchronous: {
      ...account.unvalidated.counts,
      waiting: [...account.unvalidated.windows.values()].reduce((sum, window) => sum + window.length, 0),
    },
    settings: account.settings,
  };
}

/** Sums over all counted events, by meter and customer. */
export function usageTotals(account: Account): UsageTotal[] {
  return [...account.usage.totals()].map(({ meterId, customerId, total }) => ({
    customer: customerId,
    event_name: account.meters.find(meterId)?.event_name ?? "",
    meter: meterId,
    sum: formatQuantity(total),
  }));
}

/** Which accepted events to show, in the order of their receipt. */
export interface MeterEventFilter {
  readonly customer?: string | undefined;
  readonly event_name?: string | undefined;
  readonly identifier?: string | undefined;
}

export function inspectMeterEvents(account: Account, filter: MeterEventFilter = {}): InspectedMeterEvent[] {
  const { usage } = account;
  const candidates = filter.identifier === undefined ? usage.events : usage.withIdentifier(filter.identifier);
  return candidates
    .filter(
      ({ object, customerId }) =>
        (filter.customer === undefined || customerId === filter.customer) &&
        (filter.event_name === undefined || object.event_name === filter.event_name),
    )
    .map(({ object, customerId, value, inlet, receivedMs, fate }) => ({
      identifier: object.identifier,
      event_name: object.event_name,
      customer: customerId,
      value: formatQuantity(value),
      timestamp: object.timestamp,
      inlet,
      received_ms: receivedMs,
      fate,
      times_accepted: usage.withIdentifier(object.identifier).length,
      payload: object.payload,
    }));
}
