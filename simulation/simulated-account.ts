// The Stripe account of the simulation, set up and changed as its owner would: with the official SDK.
import Stripe from "stripe";
import { openStripe } from "../src/stripe/client.ts";
import { ensureMeters } from "../src/stripe/meters.ts";
import type { StripeSimulator } from "../src/stripe-simulator/server.ts";
import { EVENT_NAMES, type EventName } from "./catalog.ts";
import { METADATA_KEY, STRIPE_KEY } from "./processes.ts";
import type { Leaving, Subscribing } from "./world.ts";

/** No faults on the owner's own calls: the limit is for a machine that is busy. */
const CALL_LIMIT_MS = 60_000;

export class SimulatedAccount {
  readonly #simulator: StripeSimulator;
  readonly #stripe: Stripe;
  readonly #priceIds: string[] = [];
  readonly #eventNames = new Map<string, EventName>();

  private constructor(simulator: StripeSimulator) {
    this.#simulator = simulator;
    const apiBase = new URL(simulator.url);
    this.#stripe = openStripe({ secretKey: STRIPE_KEY, apiBase, maxSockets: 8, timeoutMs: CALL_LIMIT_MS });
  }

  /** Makes the meters, the product and a monthly price for each meter. */
  static async create(simulator: StripeSimulator): Promise<SimulatedAccount> {
    const account = new SimulatedAccount(simulator);
    const product = await account.#stripe.products.create({ name: "Tokens" });
    for (const { eventName, meterId } of await ensureMeters(account.#stripe, EVENT_NAMES)) {
      account.#eventNames.set(meterId, eventName as EventName);
      const price = await account.#stripe.prices.create({
        product: product.id,
        currency: "usd",
        billing_scheme: "per_unit",
        unit_amount_decimal: Stripe.Decimal.from("0.0003"),
        recurring: { interval: "month", usage_type: "metered", meter: meterId },
      });
      account.#priceIds.push(price.id);
      account.#eventNames.set(price.id, eventName as EventName);
    }
    return account;
  }

  async addCustomer(name: string): Promise<string> {
    return (await this.#stripe.customers.create({ name })).id;
  }

  /** Subscribes to every meter; resolves to the subscription's id. */
  async subscribe(customer: string, { backdatedToMs, anchorMs }: Subscribing): Promise<string> {
    const subscription = await this.#stripe.subscriptions.create({
      customer,
      items: this.#priceIds.map((price) => ({ price })),
      billing_cycle_anchor: anchorMs / 1_000,
      ...(backdatedToMs !== undefined && { backdate_start_date: backdatedToMs / 1_000 }),
    });
    return subscription.id;
  }

  /** Says in Stripe's metadata what the service calls this customer. */
  async nameCustomer(customer: string, customerId: string): Promise<void> {
    await this.#stripe.customers.update(customer, { metadata: { [METADATA_KEY]: customerId } });
  }

  async leave(subscription: string, { how }: Leaving): Promise<void> {
    if (how === "at_period_end") await this.#stripe.subscriptions.update(subscription, { cancel_at_period_end: true });
    else await this.#stripe.subscriptions.cancel(subscription, { invoice_now: how === "now_with_invoice" });
  }

  async pause(subscription: string, paused: boolean): Promise<void> {
    await this.#simulator.setSubscriptionStatus(subscription, paused ? "paused" : "active");
  }

  /** Of a meter or a price, by its id. */
  eventNameOf(id: string): EventName {
    const name = this.#eventNames.get(id);
    if (name === undefined) throw new Error(`${id} is neither a meter nor a price of this account`);
    return name;
  }
}
