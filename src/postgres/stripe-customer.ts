// A Stripe customer, and whose usage it pays.
import type { Pool, Queryable } from "./pool.ts";
import { cutAllAtBoundaries, type RecutContext } from "./recut.ts";
import { sqlFile } from "./sql-file.ts";

const CUSTOMER_ID = sqlFile("account-customer-id");

/** Waits until no other transaction anywhere is at this object of Stripe's, and keeps others waiting until the end of this one. */
export async function lockStripeObject(client: Queryable, objectId: string): Promise<void> {
  // Objects that share a hash take turns too, which costs time alone.
  await client.query("SELECT pg_advisory_xact_lock(hashtextextended('stripe object ' || $1, 0))", [objectId]);
}

/** The service's own id of a Stripe customer; the Stripe id itself where none is mapped. */
export async function customerIdOf(queryable: Queryable | Pool, stripeCustomerId: string): Promise<string> {
  const result = await queryable.query<{ customer_id: string }>(CUSTOMER_ID, [stripeCustomerId]);
  return result.rows[0]?.customer_id ?? stripeCustomerId;
}

/**
 * Keeps mappings as they are until the end of the transaction ("as_they_are", side by side with others), or keeps all others away from
 * them ("alone", to change them).
 */
export async function lockMappings(client: Queryable, mode: "as_they_are" | "alone"): Promise<void> {
  const lock = mode === "alone" ? "pg_advisory_xact_lock" : "pg_advisory_xact_lock_shared";
  await client.query(`SELECT ${lock}(hashtextextended('customer mappings', 0))`);
}

/**
 * Cuts what this Stripe customer pays for at `boundariesMs`: usage under the id that is mapped to it, and usage recorded under its own id,
 * which goes to it as well. Its own id so knows every boundary ever heard of, and a customer that is mapped later takes them from there:
 * whichever comes first, a subscription's event or the mapping. The last work of a transaction, as cutAtBoundaries.
 */
export async function cutStripeCustomer(
  client: Queryable,
  context: RecutContext,
  stripeCustomerId: string,
  boundariesMs: readonly number[],
): Promise<void> {
  if (boundariesMs.length === 0) return;
  await lockMappings(client, "as_they_are");
  const customerId = await customerIdOf(client, stripeCustomerId);
  const customerIds = new Set([stripeCustomerId, customerId]);
  await cutAllAtBoundaries(
    client,
    context,
    [...customerIds].map((id) => ({ customerId: id, boundariesMs })),
  );
}
