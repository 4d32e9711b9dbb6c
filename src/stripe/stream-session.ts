// The session of the meter event stream: its token stands for the secret key, and is good for some minutes.
import type Stripe from "stripe";
import type { Clock } from "../app/ports/clock.ts";

export interface StreamSession {
  readonly token: string;
  /** On the monotonic clock. Counted from before the session was asked for, so it is over here before it is over at Stripe. */
  readonly expiresMs: number;
}

/** Where an answer does not say how long its session lasts: as documented. */
const LIFE_MS = 15 * 60_000;
/** Share of its life after which a session is renewed, while it still serves. */
const RENEW_AFTER = 2 / 3;
/** Between attempts at a renewal, while the old session still serves. */
const RETRY_MS = 5_000;

/** One session for all requests. Whoever needs a new one while it is being opened waits for the same. */
export class StreamSessions {
  readonly #stripe: Stripe;
  readonly #clock: Clock;
  #session: StreamSession | undefined;
  #renewMs = 0;
  #opening: Promise<StreamSession> | undefined;

  constructor(stripe: Stripe, clock: Clock) {
    this.#stripe = stripe;
    this.#clock = clock;
  }

  /**
   * A session that is good now, as far as can be told from here. Waits only where there is none: one that nears its end is renewed
   * meanwhile. Rejects with the SDK's error when none can be opened; nothing was sent then.
   */
  async current(): Promise<StreamSession> {
    const nowMs = this.#clock.monotonicMs();
    const session = this.#session;
    const serves = session !== undefined && nowMs < session.expiresMs;
    if (serves && nowMs < this.#renewMs) return session;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    if (!serves) return this.#opening;
    // Whether it fails or not is seen by the next who asks.
    this.#opening.catch(() => {});
    return session;
  }

  /** Tells that Stripe did not take the session's token. The next who asks gets another, unless that came meanwhile. */
  drop(session: StreamSession): void {
    if (this.#session === session) this.#session = undefined;
  }

  async #open(): Promise<StreamSession> {
    const askedMs = this.#clock.monotonicMs();
    this.#renewMs = askedMs + RETRY_MS;
    const answer = await this.#stripe.v2.billing.meterEventSession.create();
    const { authentication_token: token, created, expires_at: expires } = answer;
    if (typeof token !== "string" || token === "")
      throw new Error(`HTTP ${answer.lastResponse.statusCode} without a session's token`);
    // Both by Stripe's clock, which may differ from ours.
    const toldMs = Date.parse(expires) - Date.parse(created);
    const lifeMs = toldMs > 0 ? toldMs : LIFE_MS;
    const session = { token, expiresMs: askedMs + lifeMs };
    this.#session = session;
    this.#renewMs = askedMs + lifeMs * RENEW_AFTER;
    return session;
  }
}
