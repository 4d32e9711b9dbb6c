// An invoice's life: draft -> open -> paid, or failed, void, uncollectible. Each step emits what Stripe emits.
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import type { SnapshotEvent } from "../webhooks/snapshot-event.ts";
import { type Invoice, invoicePrefix, invoiceTotal, lineQuantity, renderInvoice } from "./invoice.ts";
import { type Subscription, setSubscriptionStatus } from "./subscription.ts";

/** Stripe waits this long for listeners to answer invoice.created before it finalizes all the same. */
const UNANSWERED_MS = 72 * 3_600_000;

/** What a new invoice is made for. */
export interface Draft {
  readonly reason: Invoice["billing_reason"];
  readonly period: { readonly start: number; readonly end: number };
  readonly lines: readonly Omit<Invoice["lines"][number], "id">[];
}

/**
 * Opens a draft. It finalizes by itself the grace time after every listener has answered invoice.created; if one doesn't, once Stripe
 * has given up on it, 72 h after its creation at the latest. A draft of an unpaid subscription stays.
 */
export function openDraft(account: Account, subscription: Subscription, draft: Draft): Invoice {
  const isAutomatic = subscription.status !== "unpaid";
  const graceSeconds = Math.floor(account.settings.invoiceGraceMs / 1_000);
  const invoice = account.invoices.add({
    id: account.newId("in_"),
    created: account.now,
    customer: subscription.customer,
    subscription: subscription.id,
    billing_reason: draft.reason,
    collection_method: subscription.collection_method,
    currency: subscription.currency,
    period_start: draft.period.start,
    period_end: draft.period.end,
    lines: draft.lines.map((line) => ({ ...line, id: account.newId("il_") })),
    auto_advance: isAutomatic,
    status: "draft",
    number: null,
    due_date: null,
    effective_at: null,
    amount_paid: 0,
    attempt_count: 0,
    automatically_finalizes_at: isAutomatic ? account.now + graceSeconds : null,
    webhooks_delivered_at: null,
    transitions: { finalized_at: null, marked_uncollectible_at: null, paid_at: null, voided_at: null },
  });
  subscription.latest_invoice = invoice.id;
  const event = emit(account, invoice, "invoice.created");
  if (event.pending_webhooks === 0) noteCreationDelivered(account, invoice.id);
  else if (isAutomatic) scheduleFinalization(account, invoice, account.nowMs + UNANSWERED_MS);
  return invoice;
}

/** Every listener has answered invoice.created: from now, the grace time runs. A second event of the creation changes nothing. */
export function noteCreationDelivered(account: Account, invoiceId: string): void {
  const invoice = account.invoices.get(invoiceId);
  if (invoice.webhooks_delivered_at !== null) return;
  invoice.webhooks_delivered_at = account.now;
  if (invoice.status !== "draft" || !invoice.auto_advance) return;
  const dueMs = account.nowMs + account.settings.invoiceGraceMs;
  invoice.automatically_finalizes_at = Math.floor(dueMs / 1_000);
  scheduleFinalization(account, invoice, dueMs);
}

/** Some listener will never get invoice.created: nothing more is waited for but the rest of the grace time. */
export function noteCreationGivenUp(account: Account, invoiceId: string): void {
  const invoice = account.invoices.get(invoiceId);
  if (invoice.status !== "draft" || !invoice.auto_advance || invoice.webhooks_delivered_at !== null) return;
  const dueMs = Math.max(account.nowMs, invoice.created * 1_000 + account.settings.invoiceGraceMs);
  scheduleFinalization(account, invoice, dueMs);
}

function scheduleFinalization(account: Account, invoice: Invoice, dueMs: number): void {
  const run = () => {
    if (invoice.status === "draft") finalizeInvoice(account, invoice);
  };
  account.schedule.put({ key: `finalize ${invoice.id}`, dueMs, run });
}

/** Freezes the quantities and collects: an amount of zero is paid at once, others as the customer's payments go. */
export function finalizeInvoice(account: Account, invoice: Invoice, collect = true): void {
  if (invoice.status !== "draft") throw badRequest("This invoice is already finalized, you can't re-finalize it.");
  account.schedule.drop(`finalize ${invoice.id}`);
  for (const line of invoice.lines) line.quantity = lineQuantity(account, invoice, line);
  const isFinal = (one: Invoice) => one.customer === invoice.customer && one.number !== null;
  const count = [...account.invoices.values()].filter(isFinal).length;
  invoice.number = `${invoicePrefix(invoice.customer)}-${String(count + 1).padStart(4, "0")}`;
  invoice.status = "open";
  invoice.automatically_finalizes_at = null;
  invoice.effective_at = account.now;
  invoice.transitions.finalized_at = account.now;
  if (invoice.collection_method === "send_invoice") {
    const days = account.subscriptions.find(invoice.subscription)?.days_until_due ?? 30;
    invoice.due_date = account.now + days * 86_400;
  }
  emit(account, invoice, "invoice.finalized");
  if (!collect) return;
  if (invoiceTotal(account, invoice) === 0) settle(account, invoice, 0);
  else if (invoice.collection_method === "charge_automatically") attemptPayment(account, invoice);
}

/** One attempt to collect: succeeds unless this customer's payments are set to fail. */
function attemptPayment(account: Account, invoice: Invoice): void {
  if (account.failingPayers.has("*") || account.failingPayers.has(invoice.customer)) failPayment(account, invoice);
  else payInvoice(account, invoice);
}

/** Marks it paid; a draft is finalized first. A subscription that was past due becomes active once nothing is open. */
export function payInvoice(account: Account, invoice: Invoice): void {
  if (invoice.status === "draft") finalizeInvoice(account, invoice, false);
  if (invoice.status !== "open" && invoice.status !== "uncollectible") {
    throw badRequest(`Invoice is already ${invoice.status}`);
  }
  settle(account, invoice, invoice.attempt_count + 1);
}

function settle(account: Account, invoice: Invoice, attempts: number): void {
  invoice.status = "paid";
  invoice.attempt_count = attempts;
  invoice.amount_paid = invoiceTotal(account, invoice);
  invoice.transitions.paid_at = account.now;
  emit(account, invoice, "invoice.paid");
  emit(account, invoice, "invoice.payment_succeeded");
  const subscription = account.subscriptions.find(invoice.subscription);
  if (subscription?.status !== "past_due" && subscription?.status !== "unpaid") return;
  const isOwed = (one: Invoice) => one.subscription === invoice.subscription && one.status === "open";
  if (![...account.invoices.values()].some(isOwed)) setSubscriptionStatus(account, subscription, "active");
}

/** A payment attempt that fails; a draft is finalized first. The subscription becomes past due. */
export function failPayment(account: Account, invoice: Invoice): void {
  if (invoice.status === "draft") finalizeInvoice(account, invoice, false);
  if (invoice.status !== "open") throw badRequest(`Invoice is already ${invoice.status}`);
  invoice.attempt_count += 1;
  emit(account, invoice, "invoice.payment_failed");
  const subscription = account.subscriptions.find(invoice.subscription);
  if (subscription?.status === "active" || subscription?.status === "trialing") {
    setSubscriptionStatus(account, subscription, "past_due");
  }
}

export function voidInvoice(account: Account, invoice: Invoice): void {
  if (invoice.status !== "open" && invoice.status !== "uncollectible") {
    throw badRequest(`You can only void open or uncollectible invoices; this one is ${invoice.status}.`);
  }
  invoice.status = "void";
  invoice.transitions.voided_at = account.now;
  emit(account, invoice, "invoice.voided");
}

export function markUncollectible(account: Account, invoice: Invoice): void {
  if (invoice.status !== "open") throw badRequest(`You can only mark open invoices; this one is ${invoice.status}.`);
  invoice.status = "uncollectible";
  invoice.transitions.marked_uncollectible_at = account.now;
  emit(account, invoice, "invoice.marked_uncollectible");
}

function emit(account: Account, invoice: Invoice, type: string): SnapshotEvent {
  return account.emit(type, renderInvoice(account, invoice));
}
