// Who is billed: made at the simulated Stripe before anything goes wrong.
import Stripe from "stripe";
import { EVENT_NAMES } from "../simulation/catalog.ts";
import { Random } from "../simulation/random.ts";
import { openStripe } from "../src/stripe/client.ts";
import { ensureMeters } from "../src/stripe/meters.ts";
import type { Payer } from "./usage.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Customers whose usage happened in hours that are over: all of it can be compared with Stripe's sums. */
const SETTLED_CUSTOMERS = 4;
/** Minutes that their usage falls into. */
const SETTLED_MINUTES = 6;

export interface CustomersOptions {
  readonly apiBase: URL;
  readonly secretKey: string;
  readonly seed: number;
  /** Of the faults: billing periods of some customers end inside. */
  readonly lengthMs: number;
  readonly nowMs: number;
}

/**
 * Some whose usage happened in hours that are over, and two whose usage happens now, with a subscription whose period ends amid the faults:
 * one on a full minute, one on any second.
 */
export async function makeCustomers({ apiBase, secretKey, seed, lengthMs, nowMs }: CustomersOptions): Promise<Payer[]> {
  const random = new Random(seed, "customers");
  const stripe = openStripe({ secretKey, apiBase, maxSockets: 2, timeoutMs: 30_000 });
  const lastHourMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS - HOUR_MS;
  const minutesMs = Array.from({ length: SETTLED_MINUTES }, () => lastHourMs - random.whole(1, 120) * MINUTE_MS);
  const payers: Payer[] = [];
  for (let i = 0; i < SETTLED_CUSTOMERS; i += 1)
    payers.push({ customerId: (await stripe.customers.create()).id, minutesMs });
  const items = await makePrices(stripe);
  for (const isFullMinute of [true, false]) {
    const { id } = await stripe.customers.create();
    const endMs = nowMs + lengthMs * (0.2 + 0.2 * random.unit());
    const anchor = isFullMinute ? Math.ceil(endMs / MINUTE_MS) * 60 : Math.ceil(endMs / 1_000);
    await stripe.subscriptions.create({ customer: id, items, billing_cycle_anchor: anchor });
    payers.push({ customerId: id, minutesMs: undefined });
  }
  return payers;
}

/** A metered price for each Stripe meter. */
async function makePrices(stripe: Stripe): Promise<{ price: string }[]> {
  const meters = await ensureMeters(stripe, [...EVENT_NAMES]);
  const product = await stripe.products.create({ name: "Tokens" });
  const items: { price: string }[] = [];
  for (const { meterId } of meters) {
    const { id } = await stripe.prices.create({
      product: product.id,
      currency: "usd",
      billing_scheme: "per_unit",
      unit_amount_decimal: Stripe.Decimal.from("0.0003"),
      recurring: { interval: "month", usage_type: "metered", meter: meterId },
    });
    items.push({ price: id });
  }
  return items;
}
