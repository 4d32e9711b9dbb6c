// Periods end, drafts are made and become final, customers are mapped; and the service hears of it: late, twice, in any order.
import { EVENT_NAMES } from "../catalog.ts";
import { Random } from "../random.ts";
import type { Invoice } from "./model/stripe.ts";
import type { Stores } from "./stores.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS, type World, type WorldCustomer } from "./world.ts";

export class Invoicing {
  readonly #stores: Stores;
  readonly #random: Random;
  /** Notices on their way. */
  #pending = 0;

  constructor(world: World, stores: Stores) {
    this.#stores = stores;
    this.#random = new Random(world.seed, "invoicing");
    for (const customer of world.customers) this.#start(customer);
  }

  /** Whether nothing is on its way to the service. */
  get isHeard(): boolean {
    return this.#pending === 0;
  }

  #start({ customerId, stripeCustomerId, mappedMs, boundariesMs }: WorldCustomer): void {
    const { scheduler, billing, history } = this.#stores;
    if (customerId !== stripeCustomerId) {
      scheduler.at(mappedMs, () => {
        history.note(() => `${customerId} is mapped to ${stripeCustomerId}`);
        billing.mapped.set(customerId, stripeCustomerId);
      });
    }
    for (const [i, endMs] of boundariesMs.entries()) {
      const startMs = boundariesMs[i - 1];
      if (startMs === undefined || endMs <= scheduler.nowMs) continue;
      scheduler.at(endMs, () => this.#draft(stripeCustomerId, { startMs, endMs }));
    }
  }

  #draft(stripeCustomerId: string, period: { readonly startMs: number; readonly endMs: number }): void {
    const { scheduler, stripe, history } = this.#stores;
    for (const eventName of EVENT_NAMES) {
      const invoice = stripe.draft(stripeCustomerId, eventName, period);
      this.#notify(invoice, true);
      scheduler.at(invoice.finalizesMs, () => {
        stripe.finalize(invoice);
        history.note(
          () => `stripe: ${invoice.invoiceId} is final, and bills ${invoice.billed}`,
          `${this.#stores.billing.customerOf(stripeCustomerId)} ${eventName}`,
        );
        this.#notify(invoice, false);
      });
    }
  }

  #notify(invoice: Invoice, asksForFlush: boolean): void {
    const { scheduler, weather } = this.#stores;
    const random = this.#random;
    const times = weather.isCalm || random.chance(0.8) ? 1 : 2;
    for (let n = 0; n < times; n += 1) {
      const delayMs =
        weather.isCalm || random.chance(0.7)
          ? random.spread(100, 10 * SECOND_MS)
          : random.spread(SECOND_MS, 3 * HOUR_MS);
      this.#pending += 1;
      scheduler.after(delayMs, () => this.#hear(invoice, asksForFlush));
    }
  }

  /** Reads the invoice as it is now, whatever the notice was about. */
  #hear(invoice: Invoice, asksForFlush: boolean): void {
    const { scheduler, databaseWire, billing, outbox, flushRequests } = this.#stores;
    if (databaseWire.isDown) {
      scheduler.after(MINUTE_MS, () => this.#hear(invoice, asksForFlush));
      return;
    }
    this.#pending -= 1;
    const { invoiceId, stripeCustomerId, eventName, startMs, endMs, finalizesMs, billed } = invoice;
    const isFinal = billed !== undefined;
    billing.save({
      invoiceId,
      stripeCustomerId,
      eventName,
      startMs,
      endMs,
      billed,
      finalizesMs: isFinal ? undefined : finalizesMs,
      finalizedMs: isFinal ? finalizesMs : undefined,
    });
    outbox.setDeadlines(stripeCustomerId, eventName, { startMs, endMs }, finalizesMs);
    if (asksForFlush) flushRequests.request(billing.customerOf(stripeCustomerId));
  }
}
