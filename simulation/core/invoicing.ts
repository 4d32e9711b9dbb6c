// Periods end, drafts are made and become final, customers are mapped; and Stripe tells of it.
import { EVENT_NAMES } from "../catalog.ts";
import { Random } from "../random.ts";
import type { Timeline } from "./scheduler.ts";
import type { Stores } from "./stores.ts";
import { subscriptionIdOf } from "./webhook-ports.ts";
import type { Webhooks } from "./webhooks.ts";
import { SECOND_MS, type World, type WorldCustomer } from "./world.ts";

export class Invoicing {
  readonly #stores: Stores;
  readonly #webhooks: Webhooks;
  readonly #random: Random;
  readonly #timeline: Timeline;
  readonly #world: World;

  constructor(world: World, stores: Stores, webhooks: Webhooks) {
    this.#stores = stores;
    this.#webhooks = webhooks;
    this.#random = new Random(world.seed, "changes of invoices");
    this.#timeline = stores.scheduler.beside(new Random(world.seed, "order of changes of invoices"));
    this.#world = world;
  }

  start(): void {
    for (const customer of this.#world.customers) this.#start(customer);
  }

  #start({ customerId, stripeCustomerId, mappedMs, boundariesMs }: WorldCustomer): void {
    const { scheduler, billing, history } = this.#stores;
    if (customerId !== stripeCustomerId) {
      scheduler.at(mappedMs, () => {
        history.note(() => `${customerId} is mapped to ${stripeCustomerId}`);
        billing.map(customerId, stripeCustomerId);
      });
      this.#mapAnew(customerId, stripeCustomerId, mappedMs);
    }
    for (const [i, endMs] of boundariesMs.entries()) {
      const startMs = boundariesMs[i - 1];
      if (startMs === undefined || endMs <= scheduler.nowMs) continue;
      scheduler.at(endMs, () => this.#draft(stripeCustomerId, { startMs, endMs }));
    }
  }

  /** Another Stripe customer, without a subscription, pays from some time on. */
  #mapAnew(customerId: string, stripeCustomerId: string, mappedMs: number): void {
    const { billing, history } = this.#stores;
    if (!this.#random.chance(0.25)) return;
    const { startMs, endMs } = this.#world;
    const fromMs = Math.max(startMs, mappedMs);
    this.#timeline.at(fromMs + this.#random.unit() * (endMs - fromMs), () => {
      history.note(() => `${customerId} is mapped to another: ${stripeCustomerId}_next`, customerId);
      billing.map(customerId, `${stripeCustomerId}_next`);
    });
  }

  #draft(stripeCustomerId: string, period: { readonly startMs: number; readonly endMs: number }): void {
    const { scheduler, stripe, history } = this.#stores;
    this.#webhooks.send("customer.subscription.updated", subscriptionIdOf(stripeCustomerId));
    for (const eventName of EVENT_NAMES) {
      const invoice = stripe.draft(stripeCustomerId, eventName, period);
      this.#webhooks.send("invoice.created", invoice.invoiceId);
      // Somebody changes it in the last moments: those events are on their way beside the next one.
      for (let n = this.#random.whole(0, 4); n > 0; n -= 1) {
        const changedMs = invoice.finalizesMs - this.#random.whole(0, 3 * SECOND_MS);
        this.#timeline.at(changedMs, () => this.#webhooks.send("invoice.updated", invoice.invoiceId));
      }
      scheduler.at(invoice.finalizesMs, () => {
        stripe.finalize(invoice);
        history.note(
          () => `stripe: ${invoice.invoiceId} is final, and bills ${invoice.billed}`,
          `${this.#stores.billing.customerOf(stripeCustomerId)} ${eventName}`,
        );
        this.#webhooks.send("invoice.finalized", invoice.invoiceId);
      });
    }
  }
}
