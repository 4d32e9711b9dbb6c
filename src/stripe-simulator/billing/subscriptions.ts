// Subscriptions: /v1/subscriptions. Items and prices are fixed at creation.
import { z } from "zod";
import { flag, integer, integerWithin, mergeMetadata, metadata, params, text, unsettableText } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { createdShape, isCreatedWithin, pagingShape } from "../state/collection.ts";
import { liveCustomer } from "./customers.ts";
import { finalizeInvoice, openDraft } from "./invoicing.ts";
import { type AnchorConfig, nextAnchor, nextBoundary } from "./periods.ts";
import type { Price } from "./prices.ts";
import { endSubscription, feeLine, scheduleRenewal, usageLine } from "./renewal.ts";
import { changeSubscription, renderSubscription, type Subscription } from "./subscription.ts";

const createSubscription = params({
  customer: text(),
  items: z
    .array(z.strictObject({ price: text(), quantity: integer().optional(), metadata: metadata() }))
    .min(1)
    .max(20),
  backdate_start_date: integer().optional(),
  billing_cycle_anchor: integer().optional(),
  billing_cycle_anchor_config: z
    .strictObject({
      day_of_month: integerWithin(1, 31),
      month: integerWithin(1, 12).optional(),
      hour: integerWithin(0, 23).optional(),
      minute: integerWithin(0, 59).optional(),
      second: integerWithin(0, 59).optional(),
    })
    .optional(),
  billing_mode: z.strictObject({ type: z.enum(["classic", "flexible"]) }).optional(),
  cancel_at: integer().optional(),
  cancel_at_period_end: flag().optional(),
  collection_method: z.enum(["charge_automatically", "send_invoice"]).optional(),
  currency: text(3).optional(),
  days_until_due: integer().optional(),
  description: text(500).optional(),
  metadata: metadata(),
  proration_behavior: z.enum(["always_invoice", "create_prorations", "none"]).optional(),
  trial_end: integer().optional(),
  trial_period_days: integer().optional(),
});
type CreateSubscription = z.infer<typeof createSubscription>;

function create(account: Account, sent: CreateSubscription): object {
  const customer = liveCustomer(account, sent.customer, "customer");
  const prices = sent.items.map((item, index) => priceOf(account, item.price, index));
  const currencies = new Set(prices.map(({ currency }) => currency));
  if (currencies.size > 1) throw badRequest("All prices of a subscription must have the same currency.");
  const timing = timingOf(account, sent, prices);
  const subscription: Subscription = {
    id: account.newId("sub_"),
    created: account.now,
    customer: customer.id,
    currency: prices[0]?.currency ?? "usd",
    start_date: timing.start,
    billing_cycle_anchor: timing.anchor,
    billing_cycle_anchor_config: timing.anchorConfig,
    billing_mode: sent.billing_mode?.type ?? "flexible",
    collection_method: sent.collection_method ?? "charge_automatically",
    days_until_due: sent.days_until_due ?? null,
    trial_start: timing.trialEnd === null ? null : account.now,
    trial_end: timing.trialEnd,
    items: sent.items.map((item, index) => {
      const price = prices[index] ?? priceOf(account, item.price, index);
      return {
        id: account.newId("si_"),
        created: account.now,
        price,
        quantity: quantityOf(price, item.quantity, index),
        metadata: mergeMetadata({}, item.metadata),
        unbilledFrom: timing.start < timing.periodStart ? timing.start : null,
        current_period_start: timing.periodStart,
        current_period_end:
          timing.firstPeriodEnd ?? nextBoundary(timing.anchor, recurringOf(price), timing.periodStart),
      };
    }),
    status: timing.trialEnd === null ? "active" : "trialing",
    description: sent.description ?? null,
    metadata: mergeMetadata({}, sent.metadata),
    cancel_at: sent.cancel_at ?? null,
    cancel_at_period_end: false,
    canceled_at: sent.cancel_at === undefined ? null : account.now,
    ended_at: null,
    latest_invoice: null,
  };
  if (sent.cancel_at_period_end === true) setCancelAtPeriodEnd(account, subscription, true);
  account.subscriptions.add(subscription);
  account.emit("customer.subscription.created", renderSubscription(subscription));
  openFirstInvoice(account, subscription);
  scheduleRenewal(account, subscription);
  return renderSubscription(subscription);
}

function priceOf(account: Account, id: string, index: number): Price {
  const param = `items[${index}][price]`;
  const price = account.prices.get(id, param);
  if (!price.active)
    throw badRequest("The price specified is inactive. This field only accepts active prices.", { param });
  if (price.recurring === null) {
    throw badRequest(
      `The price specified is set to \`type=one_time\` but this field only accepts prices with \`type=recurring\`.`,
      { param },
    );
  }
  return price;
}

function recurringOf(price: Price): NonNullable<Price["recurring"]> {
  if (price.recurring === null) throw new Error("a subscription item with a one-time price");
  return price.recurring;
}

function quantityOf(price: Price, sent: number | undefined, index: number): number | null {
  if (recurringOf(price).usage_type === "licensed") return sent ?? 1;
  if (sent === undefined) return null;
  throw badRequest("Quantity should not be specified where usage_type is `metered`.", {
    param: `items[${index}][quantity]`,
  });
}

interface Timing {
  readonly start: number;
  readonly anchor: number;
  readonly anchorConfig: AnchorConfig | null;
  readonly periodStart: number;
  /** Where the first period is cut short: at a later anchor, or the trial's end. */
  readonly firstPeriodEnd: number | null;
  readonly trialEnd: number | null;
}

function timingOf(account: Account, sent: CreateSubscription, prices: readonly Price[]): Timing {
  const { now } = account;
  const start = sent.backdate_start_date ?? now;
  if (start > now) throw badRequest("backdate_start_date must be in the past.", { param: "backdate_start_date" });
  const none = { start, anchorConfig: null, trialEnd: null };
  const trialEnd =
    sent.trial_end ?? (sent.trial_period_days === undefined ? null : now + sent.trial_period_days * 86_400);
  if (trialEnd !== null) {
    if (trialEnd <= now) throw badRequest("trial_end must be in the future.", { param: "trial_end" });
    return { ...none, anchor: trialEnd, periodStart: now, firstPeriodEnd: trialEnd, trialEnd };
  }
  const anchorConfig = anchorConfigOf(sent);
  const anchor = anchorConfig === null ? sent.billing_cycle_anchor : nextAnchor(anchorConfig, now);
  if (anchor === undefined) return { ...none, anchor: now, periodStart: now, firstPeriodEnd: null };
  if (anchor <= now) {
    throw badRequest("Subscription billing_cycle_anchor must be in the future.", { param: "billing_cycle_anchor" });
  }
  const natural = Math.min(...prices.map((price) => nextBoundary(now, recurringOf(price), now)));
  if (anchor > natural) {
    throw badRequest(
      `Subscription billing_cycle_anchor cannot be later than next natural billing date (${natural}) for plan.`,
      { param: "billing_cycle_anchor" },
    );
  }
  return { ...none, anchor, anchorConfig, periodStart: start, firstPeriodEnd: anchor };
}

function anchorConfigOf(sent: CreateSubscription): AnchorConfig | null {
  const config = sent.billing_cycle_anchor_config;
  if (config === undefined) return null;
  if (sent.billing_cycle_anchor !== undefined) {
    throw badRequest("You may only specify one of billing_cycle_anchor and billing_cycle_anchor_config.", {
      param: "billing_cycle_anchor_config",
    });
  }
  const { day_of_month, month = null, hour = null, minute = null, second = null } = config;
  return { day_of_month, month, hour, minute, second };
}

/**
 * Fees in advance, and in flexible mode the usage before a backdated start, which classic mode leaves to the next invoice. Nothing to
 * bill, no invoice. Finalized at once.
 */
function openFirstInvoice(account: Account, subscription: Subscription): void {
  const billsUsage = subscription.billing_mode === "flexible";
  const lines = subscription.items.flatMap((item) => [
    ...feeLine(subscription, item),
    ...(billsUsage && item.unbilledFrom !== null
      ? usageLine(subscription, item, item.unbilledFrom, item.current_period_start)
      : []),
  ]);
  if (billsUsage) for (const item of subscription.items) item.unbilledFrom = null;
  if (lines.length === 0) return;
  const period = { start: subscription.start_date, end: account.now };
  const invoice = openDraft(account, subscription, { reason: "subscription_create", period, lines });
  finalizeInvoice(account, invoice);
}

const updateSubscription = params({
  cancel_at: unsettableText().optional(),
  cancel_at_period_end: flag().optional(),
  description: unsettableText(500).optional(),
  metadata: metadata(),
  proration_behavior: z.enum(["always_invoice", "create_prorations", "none"]).optional(),
});

function update(account: Account, id: string, sent: z.infer<typeof updateSubscription>): object {
  const subscription = account.subscriptions.get(id);
  const changesEnd = sent.cancel_at !== undefined || sent.cancel_at_period_end !== undefined;
  if (subscription.status === "canceled" && changesEnd) {
    throw badRequest("A canceled subscription can only update its cancellation_details and metadata.");
  }
  const cancelAt = sent.cancel_at === undefined || sent.cancel_at === null ? sent.cancel_at : Number(sent.cancel_at);
  if (typeof cancelAt === "number" && !(cancelAt > account.now)) {
    throw badRequest("cancel_at must be a timestamp in the future.", { param: "cancel_at" });
  }
  changeSubscription(account, subscription, () => {
    if (sent.description !== undefined) subscription.description = sent.description;
    subscription.metadata = mergeMetadata(subscription.metadata, sent.metadata);
    if (sent.cancel_at_period_end !== undefined) {
      setCancelAtPeriodEnd(account, subscription, sent.cancel_at_period_end);
    }
    if (cancelAt !== undefined) {
      subscription.cancel_at = cancelAt;
      subscription.cancel_at_period_end = false;
      subscription.canceled_at = cancelAt === null ? null : account.now;
    }
  });
  if (subscription.status !== "canceled") scheduleRenewal(account, subscription);
  return renderSubscription(subscription);
}

function setCancelAtPeriodEnd(account: Account, subscription: Subscription, isEnding: boolean): void {
  subscription.cancel_at_period_end = isEnding;
  subscription.canceled_at = isEnding ? account.now : null;
  subscription.cancel_at = isEnding ? Math.min(...subscription.items.map((item) => item.current_period_end)) : null;
}

const cancelSubscription = params({
  invoice_now: flag().optional(),
  prorate: flag().optional(),
  cancellation_details: z.strictObject({ comment: text().optional(), feedback: text().optional() }).optional(),
});

function cancel(account: Account, id: string, invoiceNow: boolean): object {
  const subscription = account.subscriptions.get(id);
  if (subscription.status === "canceled")
    throw badRequest(`No such subscription: '${id}'`, { code: "resource_missing" });
  endSubscription(account, subscription, invoiceNow);
  return renderSubscription(subscription);
}

const listSubscriptions = params({
  ...pagingShape,
  ...createdShape,
  customer: text().optional(),
  price: text().optional(),
  status: z.enum(["active", "all", "canceled", "ended", "past_due", "paused", "trialing", "unpaid"]).optional(),
});

function isListed(subscription: Subscription, sent: z.infer<typeof listSubscriptions>): boolean {
  const wanted = sent.status === "ended" ? "canceled" : sent.status;
  return (
    (sent.customer === undefined || subscription.customer === sent.customer) &&
    (sent.price === undefined || subscription.items.some(({ price }) => price.id === sent.price)) &&
    isCreatedWithin(subscription.created, sent.created) &&
    (wanted === "all" || (wanted === undefined ? subscription.status !== "canceled" : subscription.status === wanted))
  );
}

export const subscriptionRoutes: readonly Route[] = [
  route("POST", "/v1/subscriptions", createSubscription, (call) => create(call.account, call.params)),
  route("GET", "/v1/subscriptions", listSubscriptions, ({ account, params: sent }) => {
    const page = account.subscriptions.page(sent, "/v1/subscriptions", (one) => isListed(one, sent));
    return { ...page, data: page.data.map(renderSubscription) };
  }),
  route("GET", "/v1/subscriptions/:id", params({}), ({ account, path }) =>
    renderSubscription(account.subscriptions.get(path[0] ?? "")),
  ),
  route("POST", "/v1/subscriptions/:id", updateSubscription, (call) =>
    update(call.account, call.path[0] ?? "", call.params),
  ),
  route("DELETE", "/v1/subscriptions/:id", cancelSubscription, (call) =>
    cancel(call.account, call.path[0] ?? "", call.params.invoice_now ?? false),
  ),
];
