// Invoices as Stripe had them last: the periods that they bill, and until when reports of those periods count.
import type { InvoiceState, PaidPeriod } from "../app/ports/accounts.ts";
import { linePeriods } from "../domain/metered-lines.ts";
import { toJson } from "./json.ts";
import { lockOutLeader } from "./lease.ts";
import { inTransaction, type Pool, type Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const SAVE = sqlFile("invoice-save");
const SAVE_PERIODS = sqlFile("invoice-save-periods");
const REMOVE_DRAFT = sqlFile("invoice-remove-draft");
const DEADLINE_CHANGES = sqlFile("invoice-deadline-changes");
const SET_DEADLINES = sqlFile("invoice-set-deadlines");

/**
 * Stores an invoice as it is now, and the periods that it bills in place of those known of it. Rows that say the same stay untouched: the
 * leader may be at those of final invoices.
 */
export async function saveInvoice(
  client: Queryable,
  state: InvoiceState,
  paymentFailedMs: number | undefined,
): Promise<readonly PaidPeriod[]> {
  const { invoiceId, stripeCustomerId, subscriptionId, status, finalizesMs, finalizedMs } = state;
  const times = [paymentFailedMs, finalizesMs, finalizedMs].map((ms) => (ms === undefined ? null : new Date(ms)));
  await client.query(SAVE, [invoiceId, stripeCustomerId, subscriptionId, status, ...times]);
  const isDraft = status === "draft";
  const periods = linePeriods(state.lines).map(({ quantity, ...period }) => {
    return { ...period, stripeCustomerId, billed: isDraft ? undefined : quantity };
  });
  // Final before the period is over, and nothing billed of it, as a subscription's first invoice may be: not the one that bills the period.
  const said = periods.filter(
    ({ endMs, billed }) => billed !== 0n || finalizedMs === undefined || finalizedMs >= endMs,
  );
  const before = await client.query<PeriodRow>(SAVE_PERIODS, [invoiceId, toJson(said)]);
  return [...before.rows.map(toPeriod), ...periods];
}

/** Forgets an invoice that is known as a draft, and its periods; no effect on others. */
export async function removeDraft(client: Queryable, invoiceId: string): Promise<readonly PaidPeriod[]> {
  return (await client.query<PeriodRow>(REMOVE_DRAFT, [invoiceId])).rows.map(toPeriod);
}

/**
 * Reports of the periods that are not settled get the finalization of the invoice that bills their time, by now or once more; none where
 * no invoice does. The leader is kept out only where a report changes, which is rare: mostly nothing waits when a draft is made. A
 * transaction of its own: whoever holds an invoice's periods must not wait for the leader, who may wait for them.
 */
export async function setDeadlines(pool: Pool, leaseName: string, periods: readonly PaidPeriod[]): Promise<void> {
  const asked = [
    JSON.stringify(
      periods.map(({ stripeCustomerId, eventName, startMs, endMs }) => {
        return { stripeCustomerId, eventName, startMs, endMs };
      }),
    ),
  ];
  const changes = await pool.query(DEADLINE_CHANGES, asked);
  if (changes.rowCount === 0) return;
  await inTransaction(pool, async (client) => {
    await lockOutLeader(client, leaseName);
    await client.query(SET_DEADLINES, asked);
  });
}

interface PeriodRow {
  readonly stripe_customer_id: string;
  readonly event_name: string;
  readonly period_start: Date;
  readonly period_end: Date;
}

function toPeriod(row: PeriodRow): PaidPeriod {
  const { stripe_customer_id: stripeCustomerId, event_name: eventName, period_start, period_end } = row;
  return { stripeCustomerId, eventName, startMs: period_start.getTime(), endMs: period_end.getTime() };
}
