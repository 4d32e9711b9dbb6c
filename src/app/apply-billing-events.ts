// Events about subscriptions and invoices. An event only says where to look: the object is fetched afresh, so any order and any repetition
// of the same events ends in the same state.
import type { InvoiceState } from "./ports/accounts.ts";
import type { Effect, EffectDependencies, Effects } from "./stripe-event-effects.ts";

const applySubscription: Effect = (deps, event, signal) => refreshSubscription(deps, event.objectId, signal);

const applyInvoice: Effect = async (deps, event, signal) => {
  await refreshInvoice(deps, event.objectId, undefined, signal);
};

const applyFailedPayment: Effect = async (deps, event, signal) => {
  await refreshInvoice(deps, event.objectId, event.createdMs, signal);
};

/**
 * A period ended: its invoice is a draft for an hour or so, and counts what is reported until it is finalized. Each step may be
 * repeated; a crash after any of them brings the event again.
 *
 * 1. the invoice, which names the subscription; 2. the subscription, whose new period cuts what is pending; 3. a flush, now.
 */
const applyNewInvoice: Effect = async (deps, event, signal) => {
  const invoice = await refreshInvoice(deps, event.objectId, undefined, signal); // 1
  if (invoice === undefined || invoice.subscriptionId === "") return;
  await refreshSubscription(deps, invoice.subscriptionId, signal); // 2
  await deps.flushRequests.request(await deps.accounts.customerIdOf(invoice.stripeCustomerId)); // 3
};

export const BILLING_EFFECTS: Effects = [
  ["customer.subscription.created", applySubscription],
  ["customer.subscription.updated", applySubscription],
  ["customer.subscription.deleted", applySubscription],
  ["customer.subscription.paused", applySubscription],
  ["customer.subscription.resumed", applySubscription],
  ["invoice.created", applyNewInvoice],
  // When a draft becomes final may be moved, and its lines changed.
  ["invoice.updated", applyInvoice],
  ["invoice.deleted", applyInvoice],
  ["invoice.finalized", applyInvoice],
  // It stays a draft, and counts on.
  ["invoice.finalization_failed", applyInvoice],
  ["invoice.paid", applyInvoice],
  ["invoice.payment_failed", applyFailedPayment],
  ["invoice.voided", applyInvoice],
  ["invoice.marked_uncollectible", applyInvoice],
];

/** Stripe knows no such object: it was deleted (with a test clock, say), and there is nothing to be said of it. */
export async function refreshSubscription(
  { accounts, objects }: Pick<EffectDependencies, "accounts" | "objects">,
  subscriptionId: string,
  signal: AbortSignal,
): Promise<void> {
  await accounts.exclusively(subscriptionId, async (writer) => {
    const state = await objects.subscription(subscriptionId, signal);
    if (state !== undefined) await writer.saveSubscription(state);
  });
}

/**
 * An invoice that Stripe does not know was a draft, and deleted: what was kept of it goes. Of one that was final it stays.
 *
 * 1. the invoice and the periods that it bills; 2. what follows from those: deadlines of reports, and boundaries. A subscription tells of
 * its current period alone: without these, whoever hears of its events a period late would never know where that period began. A crash
 * after 1 brings the event again.
 */
async function refreshInvoice(
  { accounts, objects }: EffectDependencies,
  invoiceId: string,
  paymentFailedMs: number | undefined,
  signal: AbortSignal,
): Promise<InvoiceState | undefined> {
  const { invoice, periods } = await accounts.exclusively(invoiceId, async (writer) => {
    const invoice = await objects.invoice(invoiceId, signal);
    if (invoice === undefined) return { invoice, periods: await writer.removeDraft(invoiceId) };
    return { invoice, periods: await writer.saveInvoice(invoice, paymentFailedMs) };
  }); // 1
  if (periods.length > 0) await accounts.periodsChanged(periods); // 2
  return invoice;
}
