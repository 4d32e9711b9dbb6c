// Stripe's objects as the accounts need them. Translates the SDK's shapes; decides nothing.
import Stripe from "stripe";
import type { InvoiceState, StripeObjects, SubscriptionState } from "../app/ports/accounts.ts";

/** A read may be sent again at once; past that the event comes again later. */
const READ = { maxNetworkRetries: 2 };

/** Reads through `stripe`, whose own timeout bounds each call. */
export function stripeObjects(stripe: Stripe): StripeObjects {
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
    async invoice(invoiceId, signal) {
      const found = await readOrUndefined(stripe.invoices.retrieve(invoiceId, {}, READ), signal);
      return found && toInvoiceState(invoiceId, found);
    },
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

function toInvoiceState(invoiceId: string, invoice: Stripe.Invoice): InvoiceState {
  const subscription = invoice.parent?.subscription_details?.subscription;
  return {
    invoiceId,
    stripeCustomerId: idOf(invoice.customer),
    subscriptionId: idOf(subscription),
    status: invoice.status ?? "",
  };
}

/** The id of what may come expanded; empty where there is none. */
function idOf(reference: string | { id: string } | null | undefined): string {
  return typeof reference === "string" ? reference : (reference?.id ?? "");
}

async function readOrUndefined<T>(request: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await abortable(request, signal);
  } catch (cause) {
    if (cause instanceof Stripe.errors.StripeInvalidRequestError && cause.statusCode === 404) return undefined;
    throw cause;
  }
}

/** Rejects with the signal's reason as soon as it aborts. The SDK knows no signals: the request itself ends by its own timeout. */
async function abortable<T>(request: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([request, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
