// A customer to try things with, on a simulated Stripe: with a monthly subscription, so that it has a billing period and an invoice.
import Stripe from "stripe";

/** What the customer is found again by. */
const EMAIL = "demo@example.com";

/** Finds or makes the customer; resolves to its id. The subscription bills the meter `meterId` at a made-up price. */
export async function ensureDemoCustomer(stripe: Stripe, meterId: string): Promise<string> {
  const found = await stripe.customers.list({ email: EMAIL, limit: 1 });
  const customer = found.data[0] ?? (await stripe.customers.create({ email: EMAIL, name: "Demo customer" }));
  // After a crash between the two the customer is there without a subscription.
  const subscribed = await stripe.subscriptions.list({ customer: customer.id, limit: 1 });
  if (subscribed.data.length > 0) return customer.id;
  const product = await stripe.products.create({ name: "Demo tokens" });
  const price = await stripe.prices.create({
    product: product.id,
    currency: "usd",
    billing_scheme: "per_unit",
    unit_amount_decimal: Stripe.Decimal.from("0.0003"),
    recurring: { interval: "month", usage_type: "metered", meter: meterId },
  });
  await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] });
  return customer.id;
}
