// Customers: read, and made on purpose for trying the service out.
import type Stripe from "stripe";
import type { CustomerState } from "../app/ports/accounts.ts";
import { READ, readOrUndefined } from "./read.ts";

/** One request. Undefined: Stripe has no such customer. Rejects when Stripe is away. */
export async function readCustomer(
  stripe: Stripe,
  stripeCustomerId: string,
  signal: AbortSignal,
): Promise<CustomerState | undefined> {
  const customer = await readOrUndefined(stripe.customers.retrieve(stripeCustomerId, {}, READ), signal);
  if (customer === undefined) return undefined;
  if (customer.deleted) return { deleted: true };
  return { deleted: false, createdMs: customer.created * 1000, metadata: customer.metadata };
}

/**
 * Makes a customer and returns its id. `idempotencyKey` makes a repeat return the same one for at least 24 h, so that the SDK may repeat the
 * call, over some 10 s. Rejects with the SDK's error when Stripe stays away or the key may not do this.
 */
export async function createCustomer(stripe: Stripe, name: string, idempotencyKey: string): Promise<string> {
  const customer = await stripe.customers.create({ name }, { idempotencyKey, maxNetworkRetries: 8 });
  return customer.id;
}
