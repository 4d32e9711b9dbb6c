// A running simulator: the account and its engine, the gateway, webhooks, and everything a test may read or turn.

import type { SubscriptionStatus } from "./billing/subscription.ts";
import { CLOCK_PATH, DELIVERIES_PATH, ENDPOINTS_PATH } from "./control/account-controls.ts";
import type { Fault, Faults } from "./control/faults.ts";
import {
  type InspectedMeterEvent,
  inspectAccount,
  inspectMeterEvents,
  type MeterEventFilter,
  type SimulatorState,
} from "./control/inspection.ts";
import { renderPage } from "./control/page.ts";
import type { Gateway, MeterConcurrency } from "./http/gateway.ts";
import { badRequest, StripeError } from "./http/stripe-error.ts";
import type { ClockSetting, SimulatorClock } from "./state/clock.ts";
import type { Engine } from "./state/engine.ts";
import type { SettingsChange } from "./state/settings.ts";
import { formatQuantity } from "./usage/quantity.ts";
import { type DeliveryAttempt, DeliveryWorker } from "./webhooks/delivery.ts";
import type { ConductChange, Draw } from "./webhooks/delivery-conduct.ts";
import { type ConfiguredEndpoint, configuredEndpoints } from "./webhooks/endpoints.ts";

export interface SimulatorParts {
  readonly listener: Listener;
  readonly engine: Engine;
  readonly clock: SimulatorClock;
  readonly faults: Faults;
  readonly gateway: Gateway;
  readonly draw: Draw;
  readonly wallMs: () => number;
  readonly webhookTimeoutMs: number;
  readonly webhookRetryMs: number;
  readonly onError: (error: unknown) => void;
}

/** The HTTP port that the simulator is reached through. */
export interface Listener {
  readonly url: string;
  readonly port: number;
  /** Stops listening and cuts open connections. */
  readonly close: () => Promise<void>;
}

const POLL_MS_MAX = 1_000;
/** "Now", as a caller read it a moment ago, is not the past. */
const CALLERS_CLOCK_LAG_MS = 1_000;

export class StripeSimulator {
  readonly #parts: SimulatorParts;
  readonly #worker: DeliveryWorker;
  #timer: NodeJS.Timeout | undefined;
  #eventsSeen = 0;
  #closing: Promise<void> | undefined;

  constructor(parts: SimulatorParts) {
    this.#parts = parts;
    this.#worker = new DeliveryWorker({
      account: parts.engine.account,
      nowMs: () => parts.engine.nowMs(),
      wallMs: parts.wallMs,
      draw: parts.draw,
      timeoutMs: parts.webhookTimeoutMs,
      retryMs: parts.webhookRetryMs,
      onError: parts.onError,
      report: (event, endpoint, delivered) => this.#command(DELIVERIES_PATH, { event, endpoint, delivered }),
    });
  }

  /** Applies settings and endpoints of the construction where they differ from the journal's, and starts time running. */
  async start(settings: SettingsChange, endpoints: readonly ConfiguredEndpoint[]): Promise<void> {
    const { account } = this.#parts.engine;
    const differs = Object.entries(settings).some(([key, value]) => Reflect.get(account.settings, key) !== value);
    if (differs) await this.setSettings(settings);
    const wanted = endpoints.map(({ url, secret, payload, enabledEvents }) => ({
      url,
      secret,
      payload: payload ?? "snapshot",
      enabledEvents: enabledEvents ?? ["*"],
    }));
    if (JSON.stringify(wanted) !== JSON.stringify(configuredEndpoints(account))) {
      await this.#command(ENDPOINTS_PATH, { endpoints: wanted });
    }
    this.tick();
  }

  /** Does what is due now, and sees to it that what is due next happens. Called after every request. */
  tick(): void {
    if (this.#closing !== undefined) return;
    const { engine } = this.#parts;
    engine.catchUp();
    const eventsMade = engine.account.events.size + engine.account.thinEvents.size;
    if (this.#eventsSeen !== eventsMade) {
      this.#eventsSeen = eventsMade;
      this.#worker.pump();
    }
    if (this.#timer === undefined) this.#arm();
  }

  /** Where the official SDK's host, port and protocol point. */
  get url(): string {
    return this.#parts.listener.url;
  }

  get port(): number {
    return this.#parts.listener.port;
  }

  /** Ends everything that was started: the port, webhooks under way, timers, the data file. All callers get one promise. */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#parts.listener.close();
    await this.#worker.stop();
    this.#parts.engine.close();
  }

  /** The simulator's time, milliseconds. */
  nowMs(): number {
    return this.#parts.engine.nowMs();
  }

  /** The whole state, as JSON: exact sums, all objects, settings, faults, what was answered and delivered. */
  state(): SimulatorState {
    const { engine, faults, gateway } = this.#parts;
    engine.catchUp();
    return {
      ...inspectAccount(engine.account),
      simulated: true,
      now_ms: engine.nowMs(),
      faults: faults.state,
      answered: gateway.answered,
      deliveries: {
        waiting: engine.account.deliveries.size,
        attempts: this.#worker.log,
        conduct: this.#worker.conduct,
      },
    };
  }

  /** The page for people, HTML. */
  page(): string {
    const { engine, faults, gateway } = this.#parts;
    engine.catchUp();
    return renderPage({
      account: engine.account,
      nowMs: engine.nowMs(),
      faults: faults.state,
      answered: gateway.answered,
      concurrency: gateway.meterConcurrency,
      conduct: this.#worker.conduct,
      waiting: [...this.#worker.waiting()],
      attempts: this.#worker.log,
    });
  }

  /** Every accepted meter event, in the order of receipt. */
  meterEvents(filter: MeterEventFilter = {}): InspectedMeterEvent[] {
    return inspectMeterEvents(this.#parts.engine.account, filter);
  }

  /** The exact counted sum as decimal text; "0" without any event. */
  sum(eventName: string, customer?: string): string {
    const { account } = this.#parts.engine;
    const meter = account.meterByEventName(eventName);
    let sum = 0n;
    for (const { meterId, customerId, total } of account.usage.totals()) {
      if (meterId === meter?.id && (customer === undefined || customer === customerId)) sum += total;
    }
    return formatQuantity(sum);
  }

  /** Moves time forward by so much; see `setClock`. */
  advanceClock(byMs: number): Promise<void> {
    return this.setClock(this.nowMs() + byMs, this.#parts.clock.isFrozen);
  }

  /**
   * Moves time forward to `toMs`, stopping at everything that falls due on the way: each renewal, finalization and attempt to deliver
   * a webhook happens at its own time, and is over before the next. `frozen`: time then stands still.
   * Throws a StripeError 400 for a time that has passed.
   */
  async setClock(toMs: number, frozen = false): Promise<void> {
    if (toMs < this.nowMs() - CALLERS_CLOCK_LAG_MS) {
      throw badRequest("Time cannot go back.", { param: "now_ms" });
    }
    for (let due = this.nextDueMs; due <= toMs; due = this.nextDueMs) {
      await this.#moveClock(Math.max(due, this.nowMs()), true);
    }
    await this.#moveClock(Math.max(toMs, this.nowMs()), frozen);
  }

  setSettings(settings: SettingsChange): Promise<object> {
    return this.#command("/_simulator/settings", settings);
  }

  addFault(fault: Fault): void {
    this.#parts.faults.add(fault);
  }

  clearFaults(): void {
    this.#parts.faults.clear();
  }

  setMeterConcurrency(concurrency: MeterConcurrency): void {
    this.#parts.gateway.meterConcurrency = concurrency;
  }

  setSubscriptionStatus(subscription: string, status: SubscriptionStatus): Promise<object> {
    return this.#command(`/_simulator/subscriptions/${subscription}`, { status });
  }

  /** From now on, payments of this customer, or of all, succeed or fail. */
  setPayments(outcome: "succeed" | "fail", customer?: string): Promise<object> {
    return this.#command("/_simulator/payments", { outcome, ...(customer === undefined ? {} : { customer }) });
  }

  /** Pays an invoice; a draft is finalized first. */
  payInvoice(invoice: string): Promise<object> {
    return this.#command(`/_simulator/invoices/${invoice}/pay`, {});
  }

  /** Has a payment of an invoice fail; a draft is finalized first. */
  failInvoice(invoice: string): Promise<object> {
    return this.#command(`/_simulator/invoices/${invoice}/fail`, {});
  }

  /** From now on, deliveries go wrong in this way. What is not given stays. */
  configureWebhooks(change: ConductChange): void {
    this.#worker.configure(change);
  }

  /**
   * Gives a webhook endpoint a new secret, its own or `secret`; deliveries are signed with the old one as well for `keepMs`, 24 h
   * unless given, at most.
   */
  rollWebhookSecret(
    endpoint: string,
    { secret, keepMs }: { readonly secret?: string | undefined; readonly keepMs?: number | undefined } = {},
  ): Promise<{ readonly id: string; readonly secret: string }> {
    const path = `/_simulator/webhook_endpoints/${endpoint}/roll_secret`;
    return this.#command(path, { secret, keep_ms: keepMs }) as Promise<{ id: string; secret: string }>;
  }

  /** Delivers what was held back, one after the other, in this order. */
  releaseWebhooks(order: "created" | "reversed" | "shuffled" = "created"): Promise<void> {
    return this.#worker.release(order);
  }

  /** Sends an event again, to every endpoint; resolves with their statuses, null for no answer. */
  resendEvent(event: string): Promise<(number | null)[]> {
    const { events, thinEvents } = this.#parts.engine.account;
    return this.#worker.resend(thinEvents.find(event) ?? events.get(event));
  }

  /**
   * Resolves once no request to Stripe's API is in hand: slow ones are processed even after their callers have hung up. For who drives
   * the clock, which such a request should find as it was.
   */
  requestsSettled(): Promise<void> {
    return this.#parts.gateway.settled();
  }

  /** Resolves once every webhook that is due was tried. */
  webhooksSettled(): Promise<void> {
    this.tick();
    return this.#worker.settled();
  }

  get deliveryAttempts(): readonly DeliveryAttempt[] {
    return this.#worker.log;
  }

  async #moveClock(toMs: number, frozen: boolean): Promise<void> {
    const setting: ClockSetting = this.#parts.clock.settingFor(toMs, frozen);
    await this.#command(CLOCK_PATH, setting);
    await this.webhooksSettled();
  }

  async #command(path: string, body: object): Promise<object> {
    const answer = await this.#parts.engine.perform({
      method: "POST",
      path,
      body: JSON.stringify(body),
      isJson: true,
      requestId: "req_simulator",
    });
    this.tick();
    const result = typeof answer.body === "string" ? JSON.parse(answer.body) : answer.body;
    if (answer.status !== 200) throw new StripeError(answer.status, result.error.message);
    return result;
  }

  /**
   * When time next makes anything happen: a renewal, a finalization, a webhook's next attempt; infinity when nothing is to come. For who
   * drives the clock.
   */
  get nextDueMs(): number {
    const { nextDueMs = Number.POSITIVE_INFINITY } = this.#parts.engine.account.schedule;
    return Math.min(nextDueMs, this.#worker.nextDueMs ?? Number.POSITIVE_INFINITY);
  }

  #arm(): void {
    const waitMs = Math.min(POLL_MS_MAX, Math.max(10, this.nextDueMs - this.#parts.engine.nowMs()));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#worker.pump();
      this.tick();
    }, waitMs).unref();
  }
}
