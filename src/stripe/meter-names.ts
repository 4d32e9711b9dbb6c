// Which meter a price bills, and under what event name. Neither ever changes at Stripe, so what was read once is kept.
import type Stripe from "stripe";
import { idOf, READ, readOrUndefined } from "./read.ts";

/** What a price says of usage. */
export interface PricedMeter {
  /** Undefined: the price is not metered, or its meter is gone. */
  readonly eventName: string | undefined;
  /** Whether a line's quantity is what the meter counted: a price that transforms quantities may show what came of it instead. */
  readonly countsUnits: boolean;
}

/** Most prices, and most meters, kept; past that the one that was read first is read again. A deployment has tens. */
const KEPT_MAX = 10_000;

export class MeterNames {
  readonly #stripe: Stripe;
  readonly #prices = new Map<string, PricedMeter>();
  readonly #meters = new Map<string, string>();

  constructor(stripe: Stripe) {
    this.#stripe = stripe;
  }

  /** Undefined: Stripe has no such price. At most two requests, once a price. Rejects when Stripe is away. */
  async ofPrice(priceId: string, signal: AbortSignal): Promise<PricedMeter | undefined> {
    const known = this.#prices.get(priceId);
    if (known !== undefined) return known;
    const price = await readOrUndefined(this.#stripe.prices.retrieve(priceId, {}, READ), signal);
    if (price === undefined) return undefined;
    const meterId = idOf(price.recurring?.meter);
    const eventName = meterId === "" ? undefined : await this.ofMeter(meterId, signal);
    return keep(this.#prices, priceId, { eventName, countsUnits: price.transform_quantity == null });
  }

  /** Undefined: Stripe has no such meter. Rejects when Stripe is away. */
  async ofMeter(meterId: string, signal: AbortSignal): Promise<string | undefined> {
    const known = this.#meters.get(meterId);
    if (known !== undefined) return known;
    const meter = await readOrUndefined(this.#stripe.billing.meters.retrieve(meterId, {}, READ), signal);
    return meter && keep(this.#meters, meterId, meter.event_name);
  }
}

function keep<T>(kept: Map<string, T>, id: string, value: T): T {
  const [first] = kept.keys();
  if (kept.size >= KEPT_MAX && first !== undefined) kept.delete(first);
  kept.set(id, value);
  return value;
}
