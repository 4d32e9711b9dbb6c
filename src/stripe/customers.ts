// Customers made on purpose, for trying the service out.
import type Stripe from "stripe";

/**
 * Makes a customer and returns its id. `idempotencyKey` makes a repeat return the same one for at least 24 h, so that the SDK may repeat the
 * call, over some 10 s. Rejects with the SDK's error when Stripe stays away or the key may not do this.
 */
export async function createCustomer(stripe: Stripe, name: string, idempotencyKey: string): Promise<string> {
  const customer = await stripe.customers.create({ name }, { idempotencyKey, maxNetworkRetries: 8 });
  return customer.id;
}
