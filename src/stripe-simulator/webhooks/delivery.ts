// Delivers events to webhook endpoints: signed afresh for each attempt, again with growing delay until answered 2xx or given up,
// in no promised order.
import type { Account } from "../state/account.ts";
import {
  type Conduct,
  type ConductChange,
  type Draw,
  firstDelayMs,
  isLost,
  PROMPT_CONDUCT,
  retryDelayMs,
} from "./delivery-conduct.ts";
import { secretsInForce, type WebhookEndpoint } from "./endpoints.ts";
import { signatureHeader } from "./signature.ts";
import type { SnapshotEvent } from "./snapshot-event.ts";
import { notificationOf, type ThinEvent } from "./thin-event.ts";

const IN_FLIGHT_MAX = 16;
const LOG_MAX = 10_000;

/** An event that an endpoint is still to get. */
export interface PendingDelivery {
  readonly event: SnapshotEvent | ThinEvent;
  readonly endpoint: WebhookEndpoint;
}

/** One attempt, for tests to read. `status` is null when there was no answer. */
export interface DeliveryAttempt {
  readonly event: string;
  readonly type: string;
  readonly url: string;
  readonly atMs: number;
  readonly status: number | null;
}

/** What the worker needs of the simulator. */
export interface DeliveryContext {
  readonly account: Account;
  readonly nowMs: () => number;
  /** The receiver's idea of time: signatures carry it, not the simulator's moved clock. */
  readonly wallMs: () => number;
  readonly draw: Draw;
  readonly timeoutMs: number;
  /** Live: the first retry after this, each further one after twice the last. */
  readonly retryMs: number;
  /** Records that an endpoint has the event, or will never get it. */
  readonly report: (event: string, endpoint: string, delivered: boolean) => Promise<unknown>;
  /** Hears when a report could not be recorded; the event is then delivered again after a restart. */
  readonly onError: (error: unknown) => void;
}

interface Progress {
  readonly attempts: number;
  readonly dueMs: number;
}

/** A delivery that is not done: the attempts made so far, and when the next is due, held back or not. */
export interface WaitingDelivery extends Progress {
  readonly key: string;
  readonly delivery: PendingDelivery;
}

export class DeliveryWorker {
  readonly log: DeliveryAttempt[] = [];
  readonly #context: DeliveryContext;
  readonly #progress = new Map<string, Progress>();
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  #conduct: Conduct = PROMPT_CONDUCT;
  #shuffles = 0;

  constructor(context: DeliveryContext) {
    this.#context = context;
  }

  /** When the next attempt is due, if any waits. */
  get nextDueMs(): number | undefined {
    if (this.#conduct.hold) return undefined;
    let next: number | undefined;
    for (const { key, dueMs } of this.waiting()) {
      if (!this.#inFlight.has(key) && (next === undefined || dueMs < next)) next = dueMs;
    }
    return next;
  }

  /** Every delivery that is not done. */
  *waiting(): Generator<WaitingDelivery> {
    for (const [key, delivery] of this.#context.account.deliveries) {
      const progress = this.#progress.get(key) ?? { attempts: 0, dueMs: this.#firstDueMs(key, delivery) };
      yield { key, delivery, ...progress };
    }
  }

  get conduct(): Conduct {
    return this.#conduct;
  }

  /** Changes what is given; the rest stays as it was. */
  configure(change: ConductChange): void {
    const given = Object.entries(change).filter(([, value]) => value !== undefined);
    this.#conduct = { ...this.#conduct, ...Object.fromEntries(given) };
    this.pump();
  }

  /** Starts every attempt that is due, in the order of the due times. */
  pump(): void {
    if (this.#conduct.hold || this.#stop.signal.aborted) return;
    const nowMs = this.#context.nowMs();
    const due = [...this.waiting()].filter(({ key, dueMs }) => dueMs <= nowMs && !this.#inFlight.has(key));
    for (const { key, delivery } of due.sort((a, b) => a.dueMs - b.dueMs)) {
      if (this.#inFlight.size >= IN_FLIGHT_MAX) return;
      void this.#start(key, delivery);
    }
  }

  /** Sends what was held back, one after the other, in the order asked for, and stops holding. */
  async release(order: "created" | "reversed" | "shuffled"): Promise<void> {
    const held = [...this.#context.account.deliveries];
    if (order === "reversed") held.reverse();
    if (order === "shuffled") {
      this.#shuffles += 1;
      const keyed = held.map((entry) => ({ entry, rank: this.#context.draw(`shuffle ${this.#shuffles} ${entry[0]}`) }));
      held.splice(0, held.length, ...keyed.sort((a, b) => a.rank - b.rank).map(({ entry }) => entry));
    }
    for (const [key, delivery] of held) await this.#start(key, delivery);
    this.configure({ hold: false });
  }

  /** Sends an event once more to every endpoint of its payload, delivered or not. Resolves with the answers. */
  resend(event: PendingDelivery["event"]): Promise<(number | null)[]> {
    const wanted = event.object === "v2.core.event" ? "thin" : "snapshot";
    const endpoints = [...this.#context.account.endpoints.values()].filter(({ payload }) => payload === wanted);
    return Promise.all(endpoints.map((endpoint) => this.#send({ event, endpoint })));
  }

  /** Resolves once nothing is under way and nothing is due. */
  async settled(): Promise<void> {
    this.pump();
    while (this.#inFlight.size > 0) {
      await Promise.all(this.#inFlight.values());
      this.pump();
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#inFlight.values());
  }

  #start(key: string, delivery: PendingDelivery): Promise<void> {
    const attempt = this.#attempt(key, delivery)
      .catch(this.#context.onError)
      .finally(() => {
        this.#inFlight.delete(key);
        this.pump();
      });
    this.#inFlight.set(key, attempt);
    return attempt;
  }

  #firstDueMs(key: string, { event }: PendingDelivery): number {
    return createdMsOf(event) + firstDelayMs(this.#conduct, this.#context.draw, key);
  }

  async #attempt(key: string, delivery: PendingDelivery): Promise<void> {
    const { account, nowMs, draw, retryMs, report } = this.#context;
    const { event, endpoint } = delivery;
    const attempt = (this.#progress.get(key)?.attempts ?? 0) + 1;
    const statuses = isLost(this.#conduct, draw, key, attempt)
      ? [this.#note(delivery, null)]
      : await Promise.all(Array.from({ length: this.#conduct.copies }, () => this.#send(delivery)));
    if (this.#stop.signal.aborted) return;
    const isDelivered = statuses.some((status) => status !== null && status >= 200 && status < 300);
    const delayMs = retryDelayMs(account.settings.webhookRetries, attempt, nowMs() - createdMsOf(event), retryMs);
    if (isDelivered || delayMs === undefined) {
      this.#progress.delete(key);
      await report(event.id, endpoint.id, isDelivered);
    } else {
      this.#progress.set(key, { attempts: attempt, dueMs: nowMs() + delayMs });
    }
  }

  async #send(delivery: PendingDelivery): Promise<number | null> {
    const { nowMs, wallMs, timeoutMs } = this.#context;
    const { event, endpoint } = delivery;
    const rawBody = JSON.stringify(event.object === "v2.core.event" ? notificationOf(event) : event, null, 2);
    const secrets = secretsInForce(endpoint, nowMs());
    let status: number | null = null;
    try {
      const response = await fetch(endpoint.url, {
        method: "POST",
        redirect: "manual",
        headers: {
          "content-type": "application/json; charset=utf-8",
          "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
          "stripe-signature": signatureHeader(secrets, rawBody, Math.floor(wallMs() / 1_000)),
        },
        body: rawBody,
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#stop.signal]),
      });
      await response.arrayBuffer();
      status = response.status;
    } catch {
      // No answer in time, or none at all: the log shows it as null, and the delivery is tried again.
    }
    return this.#note(delivery, status);
  }

  #note<S extends number | null>({ event, endpoint }: PendingDelivery, status: S): S {
    const { id, type } = event;
    this.log.push({ event: id, type, url: endpoint.url, atMs: this.#context.nowMs(), status });
    if (this.log.length > LOG_MAX) this.log.shift();
    return status;
  }
}

function createdMsOf({ created }: PendingDelivery["event"]): number {
  return typeof created === "string" ? Date.parse(created) : created * 1_000;
}
