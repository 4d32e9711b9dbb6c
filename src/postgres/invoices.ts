// Invoices as Stripe had them last: the periods that they bill, and until when reports of those periods count.
import type { InvoiceState } from "../app/ports/accounts.ts";
import { invoicedPeriods } from "../domain/invoiced-period.ts";
import { lockOutLeader } from "./lease.ts";
import type { Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const SAVE = sqlFile("invoice-save");
const SAVE_PERIODS = sqlFile("invoice-save-periods");
const REMOVE_DRAFT = sqlFile("invoice-remove-draft");
const DEADLINE_CHANGES = sqlFile("invoice-deadline-changes");
const SET_DEADLINES = sqlFile("invoice-set-deadlines");

/** Of a Stripe customer's usage; times in ms. */
interface Span {
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * Stores an invoice as it is now. In the caller's transaction, as its last work:
 *
 * 1. the invoice; 2. the periods that it bills, in place of those known of it; 3. reports of either learn until when they count.
 *
 * Nothing is visible before the commit, so a crash at any number leaves all as it was.
 */
export async function saveInvoice(
  client: Queryable,
  leaseName: string,
  state: InvoiceState,
  paymentFailedMs: number | undefined,
): Promise<void> {
  const { invoiceId, stripeCustomerId, subscriptionId, status, finalizesMs, finalizedMs } = state;
  const times = [paymentFailedMs, finalizesMs, finalizedMs].map((ms) => (ms === undefined ? null : new Date(ms)));
  await client.query(SAVE, [invoiceId, stripeCustomerId, subscriptionId, status, ...times]); // 1
  const periods = invoicedPeriods(state.lines);
  const isDraft = status === "draft";
  const rows = periods.map(({ quantity, ...period }) => {
    return { ...period, billed: isDraft || quantity === undefined ? null : quantity.toString() };
  });
  const before = await client.query<SpanRow>(SAVE_PERIODS, [invoiceId, stripeCustomerId, JSON.stringify(rows)]); // 2
  await setDeadlines(client, leaseName, stripeCustomerId, [
    ...before.rows.map(toSpan),
    ...periods.map(({ eventName, startMs, endMs }) => ({ eventName, startMs, endMs })),
  ]); // 3
}

/** Forgets an invoice that is known as a draft, and its periods; no effect on others. */
export async function removeDraft(client: Queryable, leaseName: string, invoiceId: string): Promise<void> {
  const removed = await client.query<SpanRow & { stripe_customer_id: string }>(REMOVE_DRAFT, [invoiceId]);
  const [first] = removed.rows;
  if (first !== undefined) await setDeadlines(client, leaseName, first.stripe_customer_id, removed.rows.map(toSpan));
}

/**
 * Reports of the spans that are not settled get the finalization of the invoice that bills their time, by now or once more; none where no
 * invoice does. The leader is kept out only where a report changes, which is rare: mostly nothing waits when a draft is made.
 */
async function setDeadlines(
  client: Queryable,
  leaseName: string,
  stripeCustomerId: string,
  spans: readonly Span[],
): Promise<void> {
  if (spans.length === 0) return;
  const asked = [stripeCustomerId, JSON.stringify(spans)];
  const changes = await client.query(DEADLINE_CHANGES, asked);
  if (changes.rowCount === 0) return;
  await lockOutLeader(client, leaseName);
  // Asked again under the lock.
  await client.query(SET_DEADLINES, asked);
}

interface SpanRow {
  readonly event_name: string;
  readonly period_start: Date;
  readonly period_end: Date;
}

function toSpan({ event_name: eventName, period_start, period_end }: SpanRow): Span {
  return { eventName, startMs: period_start.getTime(), endMs: period_end.getTime() };
}
