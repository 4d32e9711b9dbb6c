// Accounts: subscriptions and invoices as Stripe had them last, and what they say of a customer.
import type { Accounts, AccountWriter } from "../app/ports/accounts.ts";
import { type Entitlement, readEntitlement } from "../domain/entitlement.ts";
import { inTransaction, type Pool, type Queryable } from "./pool.ts";
import { cutAtBoundaries, type RecutContext } from "./recut.ts";
import { sqlFile } from "./sql-file.ts";

const SAVE_SUBSCRIPTION = sqlFile("account-save-subscription");
const SAVE_INVOICE = sqlFile("account-save-invoice");
const CUSTOMER_ID = sqlFile("account-customer-id");
const READ = { name: "account-read", text: sqlFile("account-read") };

/** Longest wait for a turn at an object, or for a shard; past it the event is tried again later. */
const LOCK_TIMEOUT_MS = 30_000;

export function postgresAccounts(pool: Pool, context: RecutContext): Accounts {
  return {
    exclusively: (objectId, work) =>
      inTransaction(pool, async (client) => {
        await client.query("SELECT set_config('lock_timeout', $1, true)", [String(LOCK_TIMEOUT_MS)]);
        // Objects that share a hash take turns too, which costs time alone.
        await client.query("SELECT pg_advisory_xact_lock(hashtextextended('stripe object ' || $1, 0))", [objectId]);
        return work(accountWriter(client, context));
      }),
    customerIdOf: (stripeCustomerId) => customerIdOf(pool, stripeCustomerId),
  };
}

/** What the account of a customer says at `nowMs`. One statement. `graceMs`: how long after a failed payment a customer stays entitled. */
export async function readAccount(
  queryable: Queryable,
  customerId: string,
  nowMs: number,
  graceMs: number,
): Promise<Entitlement> {
  const result = await queryable.query<{
    subscriptions: readonly [string, string, number | null, number | null][];
    failed_invoices: readonly [string, number][];
  }>({ ...READ, values: [customerId] });
  const row = result.rows[0];
  if (row === undefined) throw new Error("account-read returned no row");
  const subscriptions = row.subscriptions.map(([subscriptionId, status, startMs, endMs]) => {
    const currentPeriod = startMs === null || endMs === null ? undefined : { startMs, endMs };
    return { subscriptionId, status, currentPeriod };
  });
  const failedInvoices = row.failed_invoices.map(([subscriptionId, paymentFailedMs]) => {
    return { subscriptionId, paymentFailedMs };
  });
  return readEntitlement(subscriptions, failedInvoices, nowMs, graceMs);
}

function accountWriter(client: Queryable, context: RecutContext): AccountWriter {
  return {
    async saveSubscription({ subscriptionId, stripeCustomerId, status, currentPeriod, boundariesMs }) {
      const period = currentPeriod && [new Date(currentPeriod.startMs), new Date(currentPeriod.endMs)];
      await client.query(SAVE_SUBSCRIPTION, [
        subscriptionId,
        stripeCustomerId,
        status,
        period?.[0] ?? null,
        period?.[1] ?? null,
      ]);
      const customerId = await customerIdOf(client, stripeCustomerId);
      await cutAtBoundaries(client, context, customerId, boundariesMs);
    },
    async saveInvoice({ invoiceId, stripeCustomerId, subscriptionId, status }, paymentFailedMs) {
      const failedAt = paymentFailedMs === undefined ? null : new Date(paymentFailedMs);
      await client.query(SAVE_INVOICE, [invoiceId, stripeCustomerId, subscriptionId, status, failedAt]);
    },
  };
}

async function customerIdOf(queryable: Queryable | Pool, stripeCustomerId: string): Promise<string> {
  const result = await queryable.query<{ customer_id: string }>(CUSTOMER_ID, [stripeCustomerId]);
  return result.rows[0]?.customer_id ?? stripeCustomerId;
}
