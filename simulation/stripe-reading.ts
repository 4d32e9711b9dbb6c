// What the simulated Stripe says at the end: which periods were invoiced, for how much, and every event that it counted.
import type { InspectedMeterEvent } from "../src/stripe-simulator/control/inspection.ts";
import type { StripeSimulator } from "../src/stripe-simulator/server.ts";
import type { EventName } from "./catalog.ts";
import type { Span } from "./oracle.ts";

/** A line of an invoice, or what will become one. */
export interface BillingPeriod extends Span {
  readonly stripeCustomerId: string;
  readonly eventName: EventName;
  readonly invoiceId: string;
  /** On a final invoice; undefined while the period or its draft is open. */
  readonly billed: bigint | undefined;
}

export interface StripeReading {
  /** By customer and event name, as "cus_1 llm_input"; by start. */
  readonly periods: ReadonlyMap<string, readonly BillingPeriod[]>;
  /** Accepted events, as they came. */
  readonly events: readonly InspectedMeterEvent[];
}

interface InvoiceObject {
  readonly id: string;
  readonly customer: string;
  readonly status: string;
  readonly lines: {
    readonly data: readonly {
      readonly period: { readonly start: number; readonly end: number };
      readonly quantity: number;
      readonly pricing: { readonly price_details: { readonly price: string } };
    }[];
  };
}

interface SubscriptionObject {
  readonly customer: string;
  readonly status: string;
  readonly items: {
    readonly data: readonly {
      readonly current_period_start: number;
      readonly current_period_end: number;
      readonly price: { readonly recurring: { readonly meter: string } };
    }[];
  };
}

export function readStripe(simulator: StripeSimulator, meterOf: (id: string) => EventName): StripeReading {
  const state = simulator.state();
  const periods: BillingPeriod[] = [];
  for (const { id, customer, status, lines } of state.invoices as readonly InvoiceObject[]) {
    for (const { period, quantity, pricing } of lines.data) {
      periods.push({
        stripeCustomerId: customer,
        eventName: meterOf(pricing.price_details.price),
        invoiceId: id,
        startMs: period.start * 1_000,
        endMs: period.end * 1_000,
        billed: status === "draft" ? undefined : BigInt(quantity),
      });
    }
  }
  for (const { customer, status, items } of state.subscriptions as readonly SubscriptionObject[]) {
    if (status === "canceled") continue;
    for (const item of items.data) {
      periods.push({
        stripeCustomerId: customer,
        eventName: meterOf(item.price.recurring.meter),
        invoiceId: "",
        startMs: item.current_period_start * 1_000,
        endMs: item.current_period_end * 1_000,
        billed: undefined,
      });
    }
  }
  periods.sort((a, b) => a.startMs - b.startMs);
  const byLane = Map.groupBy(periods, (one) => `${one.stripeCustomerId} ${one.eventName}`);
  return { periods: byLane, events: simulator.meterEvents() };
}
