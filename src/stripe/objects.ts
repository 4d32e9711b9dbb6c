// Stripe's objects as the accounts need them. Translates the SDK's shapes; decides nothing.
import type Stripe from "stripe";
import type { StripeObjects, SubscriptionState } from "../app/ports/accounts.ts";
import type { Logger } from "../app/ports/logger.ts";
import type { MeterErrorSource } from "../app/ports/meter-errors.ts";
import { readCustomer } from "./customers.ts";
import { readInvoice } from "./invoices.ts";
import { readMeterErrorReport } from "./meter-errors.ts";
import { MeterNames } from "./meter-names.ts";
import { abortable, idOf, READ, readOrUndefined } from "./read.ts";

/** Reads through `stripe`, whose own timeout bounds each call. */
export function stripeObjects(stripe: Stripe, logger: Logger): StripeObjects & MeterErrorSource {
  const meters = new MeterNames(stripe);
  return {
    async subscription(subscriptionId, signal) {
      const found = await readOrUndefined(stripe.subscriptions.retrieve(subscriptionId, {}, READ), signal);
      if (found === undefined) return undefined;
      // A subscription carries its first items only.
      const items = found.items.has_more
        ? stripe.subscriptionItems
            .list({ subscription: subscriptionId, limit: 100 }, READ)
            .autoPagingToArray({ limit: 1000 })
        : Promise.resolve(found.items.data);
      return toSubscriptionState(found, await abortable(items, signal));
    },
    invoice: (invoiceId, signal) => readInvoice(stripe, meters, logger, invoiceId, signal),
    customer: (stripeCustomerId, signal) => readCustomer(stripe, stripeCustomerId, signal),
    meterErrorReport: (eventId, signal) => readMeterErrorReport(stripe, meters, eventId, signal),
  };
}

function toSubscriptionState(
  subscription: Stripe.Subscription,
  items: readonly Stripe.SubscriptionItem[],
): SubscriptionState {
  const metered = items.filter((item) => item.price.recurring?.usage_type === "metered");
  const first = (metered.length > 0 ? metered : items).toSorted(
    (a, b) => a.current_period_end - b.current_period_end || a.current_period_start - b.current_period_start,
  )[0];
  const boundaries = items.flatMap((item) => [item.current_period_start, item.current_period_end]);
  if (subscription.ended_at !== null) boundaries.push(subscription.ended_at);
  return {
    subscriptionId: subscription.id,
    stripeCustomerId: idOf(subscription.customer),
    status: subscription.status,
    currentPeriod: first && { startMs: first.current_period_start * 1000, endMs: first.current_period_end * 1000 },
    boundariesMs: [...new Set(boundaries)].sort((a, b) => a - b).map((seconds) => seconds * 1000),
  };
}
