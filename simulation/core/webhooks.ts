// Stripe's events on their way: late, twice, in any order, to processes that store them, apply them, die and stand still.
import { ApplyStripeEvents } from "../../src/app/apply-stripe-events.ts";
import type { StoredStripeEvent, StripeEventInbox } from "../../src/app/ports/accounts.ts";
import { Random } from "../random.ts";
import { Machine } from "./machine.ts";
import type { InvoicedPeriodRow } from "./model/billing.ts";
import { flushRequestsPort } from "./money-ports.ts";
import type { Timeline } from "./scheduler.ts";
import { drawDrift, type Stores } from "./stores.ts";
import { accountsPort, inboxPort, objectsPort, type PeriodsOf, subscriptionAt } from "./webhook-ports.ts";
import type { Wire } from "./wire.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS, type World } from "./world.ts";

interface WebhookProcess {
  readonly machine: Machine;
  readonly inbox: StripeEventInbox;
  readonly worker: ApplyStripeEvents;
}

/** Stripe gives up on an answer after so long, and comes again. */
const DELIVERY_LIMIT_MS = 10 * SECOND_MS;

export class Webhooks {
  readonly #world: World;
  readonly #stores: Stores;
  readonly #random: Random;
  readonly #timeline: Timeline;
  readonly #databaseWire: Wire;
  readonly #stripeWire: Wire;
  readonly #periodsOf: PeriodsOf;
  readonly #processes = new Map<number, WebhookProcess>();
  #born = 0;
  #events = 0;
  /** On their way to the inbox. */
  #underWay = 0;

  constructor(world: World, stores: Stores) {
    const { seed, customers } = world;
    this.#world = world;
    this.#stores = stores;
    this.#random = new Random(seed, "webhooks");
    this.#timeline = stores.scheduler.beside(new Random(seed, "order of webhooks"));
    this.#databaseWire = stores.databaseWire.beside(this.#timeline, new Random(seed, "way of webhooks to postgres"));
    this.#stripeWire = stores.stripeWire.beside(this.#timeline, new Random(seed, "way of webhooks to stripe"));
    const boundaries = new Map(customers.map((one) => [one.stripeCustomerId, one.boundariesMs]));
    this.#periodsOf = (stripeCustomerId) => boundaries.get(stripeCustomerId) ?? [];
  }

  /** Subscriptions are known from before; a period later it takes an event to know. */
  start(): void {
    for (const { stripeCustomerId, boundariesMs } of this.#world.customers) {
      if (boundariesMs.length === 0) continue;
      this.#stores.accounts.saveSubscription(subscriptionAt(stripeCustomerId, this.#periodsOf, this.#world.startMs));
    }
    for (let slot = this.#random.whole(1, 2); slot > 0; slot -= 1) this.#startProcess(slot);
    this.#disturb();
  }

  /** An event comes to pass at Stripe. */
  send(type: string, objectId: string): void {
    const random = this.#random;
    const { weather } = this.#stores;
    this.#events += 1;
    const nowMs = Math.floor(this.#timeline.nowMs / SECOND_MS) * SECOND_MS;
    const event = { eventId: `evt_${this.#events}`, type, createdMs: nowMs, objectId, payload: "{}" };
    for (let n = weather.isCalm || random.chance(0.8) ? 1 : 2; n > 0; n -= 1) {
      const isPrompt = weather.isCalm || random.chance(0.7);
      const delayMs = isPrompt ? random.spread(100, 10 * SECOND_MS) : random.spread(SECOND_MS, 3 * HOUR_MS);
      this.#underWay += 1;
      this.#timeline.after(delayMs, () => this.#deliver(event));
    }
  }

  /** Whether all that Stripe said is applied. */
  get isHeard(): boolean {
    return this.#underWay === 0 && this.#stores.stripeEvents.rows.every(({ state }) => state === "applied");
  }

  /** In the end: accounts say what Stripe says. */
  atTheEnd(): void {
    const { billing, stripe, accounts, oracle } = this.#stores;
    const shown = ({ billed, finalizesMs, startMs, endMs }: Omit<InvoicedPeriodRow, "closed">) =>
      `${startMs} to ${endMs}, ${billed === undefined ? `a draft until ${finalizesMs}` : `billed ${billed}`}`;
    const known = new Map(billing.periods.map((period) => [period.invoiceId, shown(period)]));
    for (const { invoiceId, ...invoice } of stripe.invoices.values()) {
      const is = shown({ ...invoice, invoiceId, finalizedMs: undefined });
      if (known.get(invoiceId) !== is)
        oracle.fail("account", `${invoiceId} is ${is}, and known as ${known.get(invoiceId)}`, invoiceId);
    }
    for (const { stripeCustomerId, subscriptionId, currentPeriod } of accounts.subscriptions.values()) {
      const is = subscriptionAt(stripeCustomerId, this.#periodsOf, this.#timeline.nowMs).currentPeriod;
      // After the last period that was drawn, Stripe says nothing.
      if (is !== undefined && is.startMs !== currentPeriod?.startMs)
        oracle.fail(
          "account",
          `${subscriptionId} is in a period from ${is.startMs}, and known to be in one from ${currentPeriod?.startMs}`,
        );
    }
  }

  #deliver(event: StoredStripeEvent): void {
    const { weather, history } = this.#stores;
    const random = this.#random;
    let isOver = false;
    const end = (stored: boolean) => {
      if (isOver) return;
      isOver = true;
      if (stored) this.#underWay -= 1;
      else this.#timeline.after(MINUTE_MS * (0.5 + random.unit()), () => this.#deliver(event));
    };
    this.#timeline.after(DELIVERY_LIMIT_MS, () => end(false));
    const living = [...this.#processes.values()];
    const rates = weather.of("api");
    if (living.length === 0 || random.chance(rates.lostBefore)) return;
    const { machine, inbox, worker } = random.pick(living);
    const isLost = random.chance(rates.lostAfter);
    history.note(
      () => `stripe: tells ${machine.name} ${event.type} ${event.objectId}, ${event.eventId}`,
      event.objectId,
    );
    const store = () =>
      void inbox.store(event).then(
        () => {
          worker.wake();
          if (!isLost) end(true);
        },
        () => end(false),
      );
    machine.deliver(store, this.#timeline);
  }

  #startProcess(slot: number): void {
    this.#born += 1;
    const machine = new Machine(`webhooks-${this.#born}`, this.#timeline, drawDrift(this.#random));
    const { stripeEvents, accounts, billing, stripe, flushRequests, history, oracle } = this.#stores;
    const say = (fields: object, message: string) =>
      history.note(
        () =>
          `${machine.name}: ${message} ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))}`,
        machine.name,
      );
    const clock = machine.clock((delayMs) => {
      const { stretch, leastMs } = this.#stores.reading.pace;
      return Math.max(delayMs * stretch, leastMs);
    }, this.#timeline);
    const inbox = inboxPort(machine, this.#databaseWire, stripeEvents);
    const notHere = () => Promise.reject(new Error("not in these worlds"));
    const worker = new ApplyStripeEvents({
      inbox,
      clock,
      objects: {
        ...objectsPort(machine, this.#stripeWire, stripe, this.#periodsOf, this.#timeline),
        meterErrorReport: notHere,
      },
      accounts: accountsPort(machine, this.#databaseWire, accounts, billing, this.#timeline),
      meterErrors: { apply: notHere },
      flushRequests: flushRequestsPort(machine, this.#databaseWire, flushRequests),
      customerMetadataKey: "customer_id",
      logger: { debug() {}, info: say, warn: say, error: say },
      onHeld: () => {},
    });
    this.#processes.set(slot, { machine, inbox, worker });
    worker.run(new AbortController().signal).then(
      () => oracle.fail("crash", `${machine.name} ended`, machine.name),
      (cause: unknown) => oracle.fail("crash", `${machine.name} failed: ${String(cause)}`, machine.name),
    );
  }

  /** Deaths and pauses, until the world ends; then an operator looks after dead letters. */
  #disturb(): void {
    const { startMs, endMs, pace } = this.#world;
    const random = this.#random;
    const unit = pace === "minutes" ? SECOND_MS : MINUTE_MS;
    for (let n = random.whole(0, 5); n > 0; n -= 1) {
      const atMs = startMs + random.unit() * (endMs - startMs);
      const backMs = Math.min(random.spread(0.1, 40) * unit, endMs - atMs);
      const slot = random.whole(1, 2);
      const pauses = random.chance(0.4);
      this.#timeline.at(atMs, () => {
        const machine = this.#processes.get(slot)?.machine;
        if (machine === undefined) return;
        this.#stores.history.note(
          () => `${machine.name}: ${pauses ? `stands still for ${Math.round(backMs)} ms` : "dies"}`,
        );
        if (pauses) {
          machine.pause(backMs);
          return;
        }
        machine.kill();
        this.#processes.delete(slot);
        this.#timeline.after(backMs, () => this.#startProcess(slot));
      });
    }
    const revive = () => {
      this.#stores.stripeEvents.revive();
      this.#timeline.after(HOUR_MS, revive);
    };
    this.#timeline.at(endMs + MINUTE_MS, revive);
  }
}
