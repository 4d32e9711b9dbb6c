// Whether a customer is in good standing, and which subscription speaks for it. Pure: the same subscriptions in any order say the same.
import { compareText } from "./usage-record.ts";
import type { Interval } from "./window.ts";

/** A subscription as last heard. */
export interface KnownSubscription {
  readonly subscriptionId: string;
  /** Stripe's word. */
  readonly status: string;
  readonly currentPeriod: Interval | undefined;
}

/** An invoice that is not paid and whose payment failed. */
export interface FailedInvoice {
  readonly subscriptionId: string;
  /** First failure heard of. */
  readonly paymentFailedMs: number;
}

/** What subscriptions say of a customer. */
export interface Entitlement {
  /** Status of the subscription that speaks for the customer; empty when none is known. */
  readonly subscriptionStatus: string;
  readonly entitled: boolean;
  /** Undefined where no subscription lives. */
  readonly billingPeriod: Interval | undefined;
}

/**
 * Best first. In a status before "unpaid" the customer is entitled; "past_due" ends with the grace. A status that Stripe adds
 * later ranks last and does not entitle, until somebody has read what it means.
 */
const RANKED = ["active", "trialing", "past_due", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired"];

/** Statuses in which a subscription still has billing periods. */
const LIVE = new Set(["active", "trialing", "past_due", "unpaid", "paused"]);

/**
 * Sums up a customer's subscriptions: one that entitles wins over any that does not, then the better status, then the period that
 * holds `nowMs`, then the later end, then the greater id. A customer without any is entitled: metering starts before billing does.
 *
 * Past due: entitled until `graceMs` after the first failure of its unpaid invoices; while no failure was heard of, entitled.
 * The billing period is of a live subscription, best as above but with a period that holds now first.
 */
export function readEntitlement(
  subscriptions: readonly KnownSubscription[],
  failedInvoices: readonly FailedInvoice[],
  nowMs: number,
  graceMs: number,
): Entitlement {
  const judged = subscriptions.map((subscription) => ({
    subscription,
    entitles: entitles(subscription, failedInvoices, nowMs, graceMs),
    current: holds(subscription.currentPeriod, nowMs),
  }));
  type Judged = (typeof judged)[number];
  const byMerit = (a: Judged, b: Judged) =>
    Number(b.entitles) - Number(a.entitles) ||
    rank(a.subscription) - rank(b.subscription) ||
    Number(b.current) - Number(a.current) ||
    endOf(b.subscription) - endOf(a.subscription) ||
    compareText(b.subscription.subscriptionId, a.subscription.subscriptionId);
  const best = judged.toSorted(byMerit)[0];
  if (best === undefined) return { subscriptionStatus: "", entitled: true, billingPeriod: undefined };
  const billed = judged
    .filter(({ subscription }) => LIVE.has(subscription.status) && subscription.currentPeriod !== undefined)
    .toSorted((a, b) => Number(b.current) - Number(a.current) || byMerit(a, b))[0];
  return {
    subscriptionStatus: best.subscription.status,
    entitled: best.entitles,
    billingPeriod: billed?.subscription.currentPeriod,
  };
}

function entitles(
  { subscriptionId, status }: KnownSubscription,
  failedInvoices: readonly FailedInvoice[],
  nowMs: number,
  graceMs: number,
): boolean {
  if (status === "active" || status === "trialing") return true;
  if (status !== "past_due") return false;
  const failures = failedInvoices.filter((i) => i.subscriptionId === subscriptionId).map((i) => i.paymentFailedMs);
  return failures.length === 0 || nowMs < Math.min(...failures) + graceMs;
}

function rank({ status }: KnownSubscription): number {
  const at = RANKED.indexOf(status);
  return at < 0 ? RANKED.length : at;
}

function holds(period: Interval | undefined, timeMs: number): boolean {
  return period !== undefined && period.startMs <= timeMs && timeMs < period.endMs;
}

function endOf({ currentPeriod }: KnownSubscription): number {
  return currentPeriod?.endMs ?? 0;
}
