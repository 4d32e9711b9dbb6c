// The prices of the meters, found again by their lookup keys. Stripe lets two prices never share one, archived or not: so races end well.
import Stripe from "stripe";
import type { EnsuredMeter } from "../meters.ts";
import { READ, type SetupItem, WRITE } from "./item.ts";
import type { WantedPrice } from "./wanted.ts";

/** What the prices stand on. */
export interface PriceGround {
  readonly productId: string;
  /** The product cannot be sold: its prices are looked at only. */
  readonly productUnfit: boolean;
  /** By event name. */
  readonly meters: ReadonlyMap<string, EnsuredMeter>;
}

/** Lookup keys in one request: Stripe's limit. */
const KEYS_MAX = 10;

/** Finds or creates each, in order; `dryRun` only says so. Nothing of a price that matters can be changed. Yields each as it is settled. */
export async function* ensurePrices(
  stripe: Stripe,
  wanted: readonly WantedPrice[],
  ground: PriceGround,
  dryRun: boolean,
): AsyncGenerator<SetupItem> {
  const known = await pricesByLookupKey(
    stripe,
    wanted.map((price) => price.lookupKey),
  );
  for (const price of wanted) {
    const found = known.get(price.lookupKey);
    yield found ? examined(found, price, ground) : await missing(stripe, price, ground, dryRun);
  }
}

async function pricesByLookupKey(stripe: Stripe, keys: readonly string[]): Promise<Map<string, Stripe.Price>> {
  const prices = new Map<string, Stripe.Price>();
  for (let from = 0; from < keys.length; from += KEYS_MAX) {
    const lookup_keys = keys.slice(from, from + KEYS_MAX);
    for await (const price of stripe.prices.list({ lookup_keys, limit: 100 }, READ))
      if (price.lookup_key !== null) prices.set(price.lookup_key, price);
  }
  return prices;
}

async function missing(stripe: Stripe, wanted: WantedPrice, ground: PriceGround, dryRun: boolean): Promise<SetupItem> {
  const item = { what: "price", name: wanted.lookupKey, id: "" } as const;
  const meter = ground.meters.get(wanted.eventName);
  if (meter === undefined || meter.advice !== "")
    return { ...item, state: "cannot_change", note: `not made: first its meter, "${wanted.eventName}"` };
  if (ground.productUnfit) return { ...item, state: "cannot_change", note: "not made: first its product" };
  const note = `${wanted.unitAmountDecimal} ${wanted.currency} by the ${wanted.interval}`;
  if (dryRun) return { ...item, state: "would_create", note };
  try {
    const { id } = await createPrice(stripe, wanted, ground.productId, meter.meterId);
    return { ...item, id, state: "created", note };
  } catch (cause) {
    // Somebody else may have created it since we looked.
    if (!(cause instanceof Stripe.errors.StripeInvalidRequestError)) throw cause;
    const other = (await pricesByLookupKey(stripe, [wanted.lookupKey])).get(wanted.lookupKey);
    if (other === undefined) throw cause;
    return examined(other, wanted, ground);
  }
}

function createPrice(
  stripe: Stripe,
  { currency, unitAmountDecimal, interval, lookupKey }: WantedPrice,
  product: string,
  meter: string,
): Promise<Stripe.Price> {
  return stripe.prices.create(
    {
      product,
      currency,
      billing_scheme: "per_unit",
      unit_amount_decimal: Stripe.Decimal.from(unitAmountDecimal),
      recurring: { interval, usage_type: "metered", meter },
      lookup_key: lookupKey,
    },
    WRITE,
  );
}

function examined(found: Stripe.Price, wanted: WantedPrice, ground: PriceGround): SetupItem {
  const item = { what: "price", name: wanted.lookupKey, id: found.id } as const;
  const differences = differencesOf(found, wanted, ground);
  if (differences.length > 0) {
    const note =
      `${differences.join(", ")}; a price cannot be changed: give this one another lookupKey, so that a new price is made, ` +
      `move the subscriptions over, and archive ${found.id}`;
    return { ...item, state: "cannot_change", note };
  }
  if (found.active) return { ...item, state: "found", note: "" };
  const note = `it is archived, so that nobody can subscribe: unarchive ${found.id} in Stripe, or choose another lookupKey`;
  return { ...item, state: "cannot_change", note };
}

function differencesOf(found: Stripe.Price, wanted: WantedPrice, ground: PriceGround): string[] {
  const { recurring } = found;
  const product = typeof found.product === "string" ? found.product : found.product.id;
  const meterId = ground.meters.get(wanted.eventName)?.meterId;
  const amount = found.unit_amount_decimal;
  const isAmount = amount?.eq(Stripe.Decimal.from(wanted.unitAmountDecimal)) === true;
  return [
    found.currency === wanted.currency || `its currency is ${found.currency}, not ${wanted.currency}`,
    (found.billing_scheme === "per_unit" && found.transform_quantity === null) || "its amount is not per unit",
    isAmount || `its amount is ${amount ?? "none"}, not ${wanted.unitAmountDecimal}`,
    recurring?.usage_type === "metered" || "it is not metered",
    (recurring?.interval === wanted.interval && recurring.interval_count === 1) ||
      `its interval is ${recurring === null ? "none" : `${recurring.interval_count} ${recurring.interval}`}, not 1 ${wanted.interval}`,
    (recurring?.meter ?? "") === meterId ||
      `its meter is ${recurring?.meter ?? "none"}, not that of "${wanted.eventName}"`,
    product === ground.productId || `its product is ${product}, not ${ground.productId}`,
  ].filter((difference) => difference !== true);
}
