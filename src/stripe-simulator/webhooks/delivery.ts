// Delivers events to webhook endpoints: signed afresh for each attempt, again with growing delay until answered 2xx, for three
// days, in no promised order.
import type { Account } from "../state/account.ts";
import type { RandomSource } from "../state/random.ts";
import type { WebhookEndpoint } from "./endpoints.ts";
import { signatureHeader } from "./signature.ts";
import type { SnapshotEvent } from "./snapshot-event.ts";
import { notificationOf, type ThinEvent } from "./thin-event.ts";

const GIVE_UP_MS = 3 * 24 * 3_600_000;
const RETRY_MS_MAX = 3_600_000;
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
  readonly random: RandomSource;
  readonly timeoutMs: number;
  /** First retry after this; each further one after twice the last. */
  readonly retryMs: number;
  /** Records that an endpoint has the event, or will never get it. */
  readonly report: (event: string, endpoint: string, delivered: boolean) => Promise<unknown>;
  /** Hears when a report could not be recorded; the event is then delivered again after a restart. */
  readonly onError: (error: unknown) => void;
}

interface Progress {
  attempts: number;
  dueMs: number;
}

export class DeliveryWorker {
  readonly log: DeliveryAttempt[] = [];
  readonly #context: DeliveryContext;
  readonly #progress = new Map<string, Progress>();
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  #copies = 1;
  #isHolding = false;

  constructor(context: DeliveryContext) {
    this.#context = context;
  }

  /** When the next attempt is due, if any waits. */
  get nextDueMs(): number | undefined {
    if (this.#isHolding) return undefined;
    let next: number | undefined;
    for (const key of this.#context.account.deliveries.keys()) {
      if (this.#inFlight.has(key)) continue;
      const dueMs = this.#progress.get(key)?.dueMs ?? this.#context.nowMs();
      if (next === undefined || dueMs < next) next = dueMs;
    }
    return next;
  }

  /** From now on, each event is sent `copies` times; with `hold`, none is until `release`. */
  configure({ copies, hold }: { readonly copies?: number | undefined; readonly hold?: boolean | undefined }): void {
    this.#copies = copies ?? this.#copies;
    this.#isHolding = hold ?? this.#isHolding;
    this.pump();
  }

  /** Starts every attempt that is due. */
  pump(): void {
    if (this.#isHolding || this.#stop.signal.aborted) return;
    const nowMs = this.#context.nowMs();
    for (const [key, delivery] of this.#context.account.deliveries) {
      if (this.#inFlight.size >= IN_FLIGHT_MAX) return;
      if (this.#inFlight.has(key) || (this.#progress.get(key)?.dueMs ?? 0) > nowMs) continue;
      void this.#start(key, delivery);
    }
  }

  /** Sends what was held back, one after the other, in the order asked for, and stops holding. */
  async release(order: "created" | "reversed" | "shuffled"): Promise<void> {
    const held = [...this.#context.account.deliveries];
    if (order === "reversed") held.reverse();
    if (order === "shuffled") {
      const keyed = held.map((entry) => ({ entry, rank: this.#context.random() }));
      held.splice(0, held.length, ...keyed.sort((a, b) => a.rank - b.rank).map(({ entry }) => entry));
    }
    for (const [key, delivery] of held) await this.#start(key, delivery);
    this.#isHolding = false;
    this.pump();
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

  async #attempt(key: string, delivery: PendingDelivery): Promise<void> {
    const { nowMs, retryMs, report } = this.#context;
    const statuses = await Promise.all(Array.from({ length: this.#copies }, () => this.#send(delivery)));
    if (this.#stop.signal.aborted) return;
    const { event, endpoint } = delivery;
    if (statuses.some((status) => status !== null && status >= 200 && status < 300)) {
      this.#progress.delete(key);
      await report(event.id, endpoint.id, true);
      return;
    }
    const attempts = (this.#progress.get(key)?.attempts ?? 0) + 1;
    if (nowMs() - createdMsOf(event) >= GIVE_UP_MS) {
      this.#progress.delete(key);
      await report(event.id, endpoint.id, false);
      return;
    }
    const delayMs = Math.min(RETRY_MS_MAX, retryMs * 2 ** (attempts - 1));
    this.#progress.set(key, { attempts, dueMs: nowMs() + delayMs });
  }

  async #send({ event, endpoint }: PendingDelivery): Promise<number | null> {
    const { nowMs, wallMs, timeoutMs } = this.#context;
    const rawBody = JSON.stringify(event.object === "v2.core.event" ? notificationOf(event) : event, null, 2);
    const atMs = nowMs();
    let status: number | null = null;
    try {
      const response = await fetch(endpoint.url, {
        method: "POST",
        redirect: "manual",
        headers: {
          "content-type": "application/json; charset=utf-8",
          "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
          "stripe-signature": signatureHeader(endpoint.secret, rawBody, Math.floor(wallMs() / 1_000)),
        },
        body: rawBody,
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#stop.signal]),
      });
      await response.arrayBuffer();
      status = response.status;
    } catch {
      // No answer in time, or none at all: the log shows it as null, and the delivery is tried again.
    }
    this.log.push({ event: event.id, type: event.type, url: endpoint.url, atMs, status });
    if (this.log.length > LOG_MAX) this.log.shift();
    return status;
  }
}

function createdMsOf({ created }: PendingDelivery["event"]): number {
  return typeof created === "string" ? Date.parse(created) : created * 1_000;
}
