// Accounts: subscriptions and invoices as Stripe had them last, and what they say of a customer.
import type { Accounts, AccountWriter } from "../app/ports/accounts.ts";
import { type Entitlement, readEntitlement } from "../domain/entitlement.ts";
import { saveClaim } from "./customer-mappings.ts";
import { removeDraft, saveInvoice, setDeadlines } from "./invoices.ts";
import { inTransaction, type Pool, type PoolClient, type Queryable } from "./pool.ts";
import type { RecutContext } from "./recut.ts";
import { sqlFile } from "./sql-file.ts";
import { customerIdOf, cutStripeCustomer, lockStripeObject } from "./stripe-customer.ts";

const SUBSCRIPTIONS = sqlFile("account-subscriptions");
const SAVE_SUBSCRIPTION = sqlFile("account-save-subscription");
const READ = { name: "account-read", text: sqlFile("account-read") };

/** Longest wait for a turn at an object, or for a shard; past it the event is tried again later. */
const LOCK_TIMEOUT_MS = 30_000;

/** Accounts whose reports are sent behind the lease named `leaseName`. */
export function postgresAccounts(pool: Pool, context: RecutContext, leaseName: string): Accounts {
  const patiently = <T>(work: (client: PoolClient) => Promise<T>) =>
    inTransaction(pool, async (client) => {
      await client.query("SELECT set_config('lock_timeout', $1, true)", [String(LOCK_TIMEOUT_MS)]);
      return work(client);
    });
  return {
    exclusively: (objectId, work) =>
      patiently(async (client) => {
        await lockStripeObject(client, objectId);
        return work(accountWriter(client, context));
      }),
    async periodsChanged(periods) {
      await setDeadlines(pool, leaseName, periods);
      for (const [stripeCustomerId, its] of Map.groupBy(periods, (period) => period.stripeCustomerId)) {
        const boundaries = its.flatMap(({ startMs, endMs }) => [startMs, endMs]);
        await patiently((client) => cutStripeCustomer(client, context, stripeCustomerId, boundaries));
      }
    },
    async subscriptionsOf(stripeCustomerId) {
      const result = await pool.query<{ subscription_id: string }>(SUBSCRIPTIONS, [stripeCustomerId]);
      return result.rows.map((row) => row.subscription_id);
    },
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
      await cutStripeCustomer(client, context, stripeCustomerId, boundariesMs);
    },
    saveInvoice: (state, paymentFailedMs) => saveInvoice(client, state, paymentFailedMs),
    removeDraft: (invoiceId) => removeDraft(client, invoiceId),
    saveClaim: (claim) => saveClaim(client, context, claim),
  };
}
