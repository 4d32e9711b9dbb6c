// What time does to a subscription: renewals, with their invoices, and the end.
import type { Account } from "../state/account.ts";
import { QUANTITY_ONE } from "../usage/quantity.ts";
import { type Draft, openDraft } from "./invoicing.ts";
import { nextBoundary } from "./periods.ts";
import { changeSubscription, renderSubscription, type Subscription, type SubscriptionItem } from "./subscription.ts";

/** Ends it now: no further renewal. With `invoiceNow`, a last invoice takes the usage of the current periods up to now. */
export function endSubscription(account: Account, subscription: Subscription, invoiceNow = false): void {
  account.schedule.drop(renewalKey(subscription));
  if (invoiceNow) {
    const lines = subscription.items.flatMap((item) => usageLine(subscription, item, unbilledStart(item), account.now));
    const start = Math.min(...subscription.items.map(unbilledStart));
    if (lines.length > 0) {
      openDraft(account, subscription, { reason: "subscription_update", period: { start, end: account.now }, lines });
    }
  }
  subscription.status = "canceled";
  subscription.canceled_at ??= account.now;
  subscription.ended_at = account.now;
  account.emit("customer.subscription.deleted", renderSubscription(subscription));
}

/** Has the subscription renewed, or ended, when its first period does. Call it after every change of periods or of cancel_at. */
export function scheduleRenewal(account: Account, subscription: Subscription): void {
  const due = Math.min(
    ...subscription.items.map((item) => item.current_period_end),
    subscription.cancel_at ?? Number.POSITIVE_INFINITY,
  );
  const run = () => renew(account, subscription);
  account.schedule.put({ key: renewalKey(subscription), dueMs: due * 1_000, run });
}

function renewalKey(subscription: Subscription): string {
  return `renew ${subscription.id}`;
}

function renew(account: Account, subscription: Subscription): void {
  const isOver = subscription.cancel_at !== null && subscription.cancel_at <= account.now;
  const due = subscription.items.filter((item) => isOver || item.current_period_end <= account.now);
  const start = Math.min(...due.map(unbilledStart));
  const lines = due.flatMap((item) => usageLine(subscription, item, unbilledStart(item), account.now));
  if (!isOver) {
    changeSubscription(account, subscription, () => {
      for (const item of due) startPeriod(subscription, item);
      if (subscription.status === "trialing" && (subscription.trial_end ?? 0) <= account.now) {
        subscription.status = "active";
      }
    });
    lines.push(...due.flatMap((item) => feeLine(subscription, item)));
  }
  if (subscription.status !== "paused" && lines.length > 0) {
    openDraft(account, subscription, { reason: "subscription_cycle", period: { start, end: account.now }, lines });
  }
  if (isOver) endSubscription(account, subscription);
  else scheduleRenewal(account, subscription);
}

function startPeriod(subscription: Subscription, item: SubscriptionItem): void {
  const interval = item.price.recurring ?? { interval: "month" as const, interval_count: 1 };
  item.unbilledFrom = null;
  item.current_period_start = item.current_period_end;
  item.current_period_end = nextBoundary(subscription.billing_cycle_anchor, interval, item.current_period_start);
}

function unbilledStart(item: SubscriptionItem): number {
  return item.unbilledFrom ?? item.current_period_start;
}

type DraftLines = Draft["lines"][number][];

/** The line for what a metered item used, none for others. */
export function usageLine(subscription: Subscription, item: SubscriptionItem, start: number, end: number): DraftLines {
  if (item.price.recurring?.usage_type !== "metered") return [];
  return [line(subscription, item, { start, end }, null)];
}

/** The line for a licensed item's current period, which is paid in advance; none for metered ones or in a trial. */
export function feeLine(subscription: Subscription, item: SubscriptionItem): DraftLines {
  if (item.quantity === null || subscription.status === "trialing") return [];
  const period = { start: item.current_period_start, end: item.current_period_end };
  return [line(subscription, item, period, BigInt(item.quantity) * QUANTITY_ONE)];
}

function line(
  subscription: Subscription,
  item: SubscriptionItem,
  period: { readonly start: number; readonly end: number },
  quantity: bigint | null,
): DraftLines[number] {
  return { price: item.price, subscription: subscription.id, subscriptionItem: item.id, period, quantity };
}
