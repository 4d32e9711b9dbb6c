// The simulated Stripe account: all of its state, and nothing of HTTP. It is a function of the commands carried out and their
// times alone, so that replaying the journal gives the same account, ids included.
import type { Customer } from "../billing/customers.ts";
import type { Invoice } from "../billing/invoice.ts";
import type { Price } from "../billing/prices.ts";
import type { Product } from "../billing/products.ts";
import type { Subscription } from "../billing/subscription.ts";
import { type MeterEventFate, Unvalidated } from "../usage/async-validation.ts";
import { Identifiers } from "../usage/identifiers.ts";
import type { MeterEventSession } from "../usage/meter-event-session.ts";
import type { Meter } from "../usage/meters.ts";
import { UsageBook } from "../usage/usage-book.ts";
import type { PendingDelivery } from "../webhooks/delivery.ts";
import type { WebhookEndpoint } from "../webhooks/endpoints.ts";
import { API_VERSION, type SnapshotEvent } from "../webhooks/snapshot-event.ts";
import type { RelatedObject, ThinEvent } from "../webhooks/thin-event.ts";
import type { ClockSetting } from "./clock.ts";
import { Collection } from "./collection.ts";
import { previousAttributes } from "./previous-attributes.ts";
import { opaqueToken, type RandomSource, seededRandom } from "./random.ts";
import { Schedule } from "./schedule.ts";
import { DEFAULT_SETTINGS, type Settings } from "./settings.ts";

/** The API request that a change goes back to; nulls when time did it. */
export interface RequestOrigin {
  readonly id: string | null;
  readonly idempotency_key: string | null;
}

export class Account {
  readonly customers = new Collection<Customer>("customer");
  readonly meters = new Collection<Meter>("billing.meter");
  readonly usage = new UsageBook();
  /** Of the events accepted, whichever way they came in. */
  readonly identifiers = new Identifiers();
  /** Sessions of the meter event stream, by token. */
  readonly sessions = new Map<string, MeterEventSession>();
  /** Events that were taken and are validated later. */
  readonly unvalidated = new Unvalidated();
  readonly products = new Collection<Product>("product");
  readonly prices = new Collection<Price>("price");
  readonly subscriptions = new Collection<Subscription>("subscription");
  readonly invoices = new Collection<Invoice>("invoice");
  readonly endpoints = new Collection<WebhookEndpoint>("webhook endpoint");
  readonly events = new Collection<SnapshotEvent>("event");
  readonly thinEvents = new Collection<ThinEvent>("event");
  /** Events that an endpoint has not answered with 2xx yet, by `${event} ${endpoint}`. */
  readonly deliveries = new Map<string, PendingDelivery>();
  readonly schedule = new Schedule();
  /** Customers whose payments fail; "*" stands for all. */
  readonly failingPayers = new Set<string>();
  settings: Settings = DEFAULT_SETTINGS;
  clockSetting: ClockSetting = { offsetMs: 0, frozenAtMs: null };

  /** Draws how far, of the time that summaries may take, an event takes to show. */
  readonly lags: RandomSource;

  readonly #seed: string;
  readonly #metersByEventName = new Map<string, Meter>();
  #nowMs = 0;
  #scope = "";
  #idsDrawn = 0;
  #request: RequestOrigin = { id: null, idempotency_key: null };
  #fate: MeterEventFate | undefined;

  constructor(seed: string) {
    this.#seed = seed;
    this.lags = seededRandom(`${seed} lags`);
  }

  /** Time of the command being carried out, milliseconds. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** The same in unix seconds, as Stripe's objects carry it. */
  get now(): number {
    return Math.floor(this.#nowMs / 1_000);
  }

  /** What a fault has in store for the meter events of the command being carried out. */
  get fate(): MeterEventFate | undefined {
    return this.#fate;
  }

  /** Does what has fallen due, each thing at its own time, then begins a command. `scope` is unique to it: its ids follow from it. */
  begin(nowMs: number, scope: string, request: RequestOrigin, fate?: MeterEventFate): void {
    for (let job = this.schedule.takeDue(nowMs); job !== undefined; job = this.schedule.takeDue(nowMs)) {
      this.#enter(job.dueMs, `${job.key} ${job.dueMs}`, { id: null, idempotency_key: null });
      job.run();
    }
    this.#enter(nowMs, scope, request);
    this.#fate = fate;
  }

  newId(prefix: string): string {
    this.#idsDrawn += 1;
    return `${prefix}${opaqueToken(`${this.#seed} ${this.#scope} ${this.#idsDrawn}`)}`;
  }

  meterByEventName(eventName: string): Meter | undefined {
    return this.#metersByEventName.get(eventName);
  }

  indexMeter(meter: Meter): void {
    this.#metersByEventName.set(meter.event_name, meter);
  }

  /**
   * Makes a snapshot event of `object` as it is now, and has it delivered to every endpoint that listens to its type. As the settings
   * say, sometimes a second one follows, of the same happening under an id of its own.
   */
  emit(type: string, object: object, previous?: Readonly<Record<string, unknown>>): SnapshotEvent {
    const event = this.#emitOnce(type, object, previous);
    const { twinEventRate } = this.settings;
    if (twinEventRate > 0 && seededRandom(`${this.#seed} twin ${event.id}`)() < twinEventRate) {
      this.#emitOnce(type, object, previous);
    }
    return event;
  }

  /**
   * Changes an object and emits `type` with what differs as it was before: of nested objects their changed keys alone, null for what
   * was not there, lists whole. A change that changes nothing is no event.
   */
  change<T>(type: string, target: T, render: (target: T) => object, apply: () => void): void {
    const before = structuredClone({ ...render(target) });
    apply();
    const after = { ...render(target) };
    const previous = previousAttributes(before, after);
    if (Object.keys(previous).length > 0) this.emit(type, after, previous);
  }

  #emitOnce(type: string, object: object, previous?: Readonly<Record<string, unknown>>): SnapshotEvent {
    const listeners = this.#listeners("snapshot", type);
    const event = this.events.add({
      id: this.newId("evt_"),
      object: "event",
      api_version: API_VERSION,
      created: this.now,
      data: {
        object: structuredClone(object),
        ...(previous === undefined ? {} : { previous_attributes: structuredClone(previous) }),
      },
      livemode: false,
      pending_webhooks: listeners.length,
      request: this.#request,
      type,
    });
    for (const endpoint of listeners) {
      this.deliveries.set(`${event.id} ${endpoint.id}`, { event, endpoint });
    }
    return event;
  }

  /** Makes a thin event, and has its notification delivered to every thin destination that listens to its type, or to `only`. */
  emitThin(type: string, data: object, related?: RelatedObject, only?: WebhookEndpoint): ThinEvent {
    const event = this.thinEvents.add({
      id: this.newId("evt_test_"),
      object: "v2.core.event",
      type,
      created: new Date(this.#nowMs).toISOString(),
      livemode: false,
      context: null,
      reason: null,
      ...(related === undefined ? {} : { related_object: related }),
      data,
    });
    for (const endpoint of only === undefined ? this.#listeners("thin", type) : [only]) {
      this.deliveries.set(`${event.id} ${endpoint.id}`, { event, endpoint });
    }
    return event;
  }

  #listeners(payload: WebhookEndpoint["payload"], type: string): readonly WebhookEndpoint[] {
    return [...this.endpoints.values()].filter(
      (one) =>
        one.payload === payload &&
        one.status === "enabled" &&
        (one.enabled_events.includes("*") || one.enabled_events.includes(type)),
    );
  }

  #enter(nowMs: number, scope: string, request: RequestOrigin): void {
    this.#nowMs = nowMs;
    this.#scope = scope;
    this.#idsDrawn = 0;
    this.#request = request;
    this.#fate = undefined;
  }
}
