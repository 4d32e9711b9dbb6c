// A subscription's state, how Stripe renders it, and its changes of status short of the end.
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import type { AnchorConfig } from "./periods.ts";
import { type Price, renderPlan, renderPrice } from "./prices.ts";

export type SubscriptionStatus = "active" | "past_due" | "canceled" | "unpaid" | "trialing" | "paused";

/** Periods are the items', not the subscription's. */
export interface SubscriptionItem {
  readonly id: string;
  readonly created: number;
  readonly price: Price;
  /** Null for metered prices. */
  readonly quantity: number | null;
  readonly metadata: Record<string, string>;
  /** Where usage that no invoice has yet begins, if before the period: a backdated start in classic mode. */
  unbilledFrom: number | null;
  current_period_start: number;
  current_period_end: number;
}

export interface Subscription {
  readonly id: string;
  readonly created: number;
  readonly customer: string;
  readonly currency: string;
  readonly start_date: number;
  readonly billing_cycle_anchor: number;
  readonly billing_cycle_anchor_config: AnchorConfig | null;
  readonly billing_mode: "classic" | "flexible";
  readonly collection_method: "charge_automatically" | "send_invoice";
  readonly days_until_due: number | null;
  readonly trial_start: number | null;
  readonly trial_end: number | null;
  readonly items: readonly SubscriptionItem[];
  status: SubscriptionStatus;
  description: string | null;
  metadata: Record<string, string>;
  cancel_at: number | null;
  cancel_at_period_end: boolean;
  canceled_at: number | null;
  ended_at: number | null;
  latest_invoice: string | null;
}

/** `subscription`. */
export function renderSubscription(subscription: Subscription): object {
  const { billing_mode, items, ...shown } = subscription;
  return {
    ...shown,
    object: "subscription",
    ...ABSENT,
    metadata: { ...subscription.metadata },
    billing_mode: {
      flexible: billing_mode === "flexible" ? { proration_discounts: "included" } : null,
      type: billing_mode,
    },
    items: {
      object: "list",
      data: items.map((item) => renderItem(subscription, item)),
      has_more: false,
      total_count: items.length,
      url: `/v1/subscription_items?subscription=${subscription.id}`,
    },
  };
}

function renderItem(subscription: Subscription, item: SubscriptionItem): object {
  const { quantity, price, unbilledFrom: _unbilledFrom, ...shown } = item;
  return {
    ...shown,
    object: "subscription_item",
    billing_thresholds: null,
    current_trial: null,
    discounts: [],
    plan: renderPlan(price),
    price: renderPrice(price),
    ...(quantity === null ? {} : { quantity }),
    subscription: subscription.id,
    tax_rates: [],
  };
}

/** Parts of a subscription that the simulator has no use for, as Stripe shows them when they are not set. */
const ABSENT = {
  application: null,
  application_fee_percent: null,
  automatic_tax: { disabled_reason: null, enabled: false, liability: null },
  billing_schedules: [],
  billing_thresholds: null,
  cancellation_details: { comment: null, feedback: null, feedback_option: null, reason: null },
  customer_account: null,
  default_payment_method: null,
  default_source: null,
  default_tax_rates: [],
  discounts: [],
  invoice_settings: {
    account_tax_ids: null,
    custom_fields: null,
    description: null,
    footer: null,
    issuer: { type: "self" },
  },
  livemode: false,
  managed_payments: null,
  next_pending_invoice_item_invoice: null,
  on_behalf_of: null,
  pause_collection: null,
  payment_settings: {
    payment_method_options: null,
    payment_method_types: null,
    save_default_payment_method: "off",
  },
  pending_invoice_item_interval: null,
  pending_setup_intent: null,
  pending_update: null,
  schedule: null,
  test_clock: null,
  transfer_data: null,
  trial_settings: { end_behavior: { billing_cycle_anchor: null, missing_payment_method: "create_invoice" } },
};

/** Changes a subscription and emits customer.subscription.updated. */
export function changeSubscription(account: Account, subscription: Subscription, apply: () => void): void {
  account.change("customer.subscription.updated", subscription, renderSubscription, apply);
}

/** Any status but the last one, canceled, from which there is no way back (400). */
export function setSubscriptionStatus(
  account: Account,
  subscription: Subscription,
  status: Exclude<SubscriptionStatus, "canceled">,
): void {
  if (status === subscription.status) return;
  if (subscription.status === "canceled") throw badRequest("A canceled subscription cannot be reactivated.");
  const before = subscription.status;
  changeSubscription(account, subscription, () => {
    subscription.status = status;
  });
  if (status === "paused") account.emit("customer.subscription.paused", renderSubscription(subscription));
  else if (before === "paused") account.emit("customer.subscription.resumed", renderSubscription(subscription));
}
