// The worker that applies stored webhook events: takes what is due, tries again later what fails, gives up loudly. What an event leads to
// is said where its kind is: apply-*.ts beside this file.
import { BILLING_EFFECTS } from "./apply-billing-events.ts";
import { CUSTOMER_EFFECTS } from "./apply-customer-events.ts";
import { METER_ERROR_EFFECTS } from "./apply-meter-errors.ts";
import type { ClaimedStripeEvent, StripeEventInbox } from "./ports/accounts.ts";
import type { Clock } from "./ports/clock.ts";
import type { Effect, EffectDependencies } from "./stripe-event-effects.ts";

/** What each type of event leads to. */
const EFFECTS: ReadonlyMap<string, Effect> = new Map([...BILLING_EFFECTS, ...CUSTOMER_EFFECTS, ...METER_ERROR_EFFECTS]);

/** Types that this worker applies. */
const APPLIED_EVENT_TYPES: readonly string[] = [...EFFECTS.keys()];

/** Types worth storing. Others are answered and forgotten. */
export const STORED_EVENT_TYPES: ReadonlySet<string> = new Set(APPLIED_EVENT_TYPES);

/** Events applied at once: each waits mostly for Stripe, whose reads are limited to 100 a second. Each holds one database connection. */
const CONCURRENCY = 4;
/** Longer than an event takes: past it another worker applies it too, to the same effect. */
const LEASE_MS = 120_000;
/** Looks for events that another process stored, or that are due again. */
const POLL_MS = 500;
/** The first retry comes after 5 s, each later one four times as late, none later than 6 h: about 20 h in all. */
const ATTEMPTS_MAX = 10;
const FIRST_RETRY_MS = 5_000;
const RETRY_MAX_MS = 6 * 3_600_000;
/** As long as Stripe can deliver an event again. */
const FORGET_AFTER_MS = 35 * 86_400_000;
const FORGET_EVERY_MS = 60_000;
const FORGET_LIMIT = 1_000;

export interface ApplyStripeEventsDependencies extends EffectDependencies {
  readonly inbox: StripeEventInbox;
  readonly clock: Clock;
}

export class ApplyStripeEvents {
  readonly #deps: ApplyStripeEventsDependencies;
  #woken = false;
  #endPause = () => {};

  constructor(deps: ApplyStripeEventsDependencies) {
    this.#deps = deps;
  }

  /** An event was stored in this process: look now rather than at the next poll. */
  wake(): void {
    this.#woken = true;
    this.#endPause();
  }

  /** Applies events as they come, until `signal` aborts; then gives back what it holds and resolves. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { inbox, clock, logger } = this.#deps;
    signal.addEventListener("abort", () => this.wake(), { once: true });
    let forgetAtMs = clock.monotonicMs();
    let away = false;
    while (!signal.aborted) {
      this.#woken = false;
      try {
        if (clock.monotonicMs() >= forgetAtMs) {
          forgetAtMs += FORGET_EVERY_MS;
          await inbox.forgetApplied(FORGET_AFTER_MS, FORGET_LIMIT);
        }
        const applied = await this.applyDue(signal);
        away = false;
        if (applied > 0) continue;
      } catch (err) {
        // One line an outage.
        if (!away) logger.warn({ err }, "stripe events cannot be read now; looking again until they can");
        away = true;
      }
      await this.#pause();
    }
  }

  /** Applies one round of due events, a few at once; returns how many it tried. Rejects when the inbox cannot be read. */
  async applyDue(signal: AbortSignal): Promise<number> {
    const events = await this.#deps.inbox.claim(APPLIED_EVENT_TYPES, CONCURRENCY, LEASE_MS);
    await Promise.all(events.map((event) => this.#settle(event, signal)));
    return events.length;
  }

  /** Never rejects: an event that could not even be settled comes again when its lease runs out. */
  async #settle(event: ClaimedStripeEvent, signal: AbortSignal): Promise<void> {
    const { inbox, logger } = this.#deps;
    const { eventId, type, objectId, attempts } = event;
    const ids = { eventId, type, objectId, attempts };
    try {
      try {
        await EFFECTS.get(type)?.(this.#deps, event, signal);
      } catch (err) {
        await this.#fail(event, err, signal);
        return;
      }
      await inbox.applied(eventId);
      logger.debug(ids, "stripe event applied");
    } catch (err) {
      logger.warn({ ...ids, err }, "stripe event could not be settled; it comes again when its lease runs out");
    }
  }

  async #fail(event: ClaimedStripeEvent, err: unknown, signal: AbortSignal): Promise<void> {
    const { inbox, logger } = this.#deps;
    const { eventId, type, objectId, attempts } = event;
    const ids = { eventId, type, objectId, attempts };
    if (signal.aborted) {
      await inbox.failed(eventId, "stopped while it was applied", 0);
      return;
    }
    const message = err instanceof Error ? err.message : String(err);
    const retryAfterMs = attempts < ATTEMPTS_MAX ? retryDelayMs(attempts) : undefined;
    await inbox.failed(eventId, message, retryAfterMs);
    if (retryAfterMs !== undefined)
      logger.warn({ ...ids, retryAfterMs, err }, "stripe event not applied; trying again later");
    else
      logger.error(
        { ...ids, err },
        "stripe event given up: the account may differ from Stripe's until it is applied by hand",
      );
  }

  async #pause(): Promise<void> {
    if (this.#woken) return;
    const pause = new AbortController();
    this.#endPause = () => pause.abort();
    await this.#deps.clock.sleep(POLL_MS, pause.signal);
    this.#endPause = () => {};
  }
}

function retryDelayMs(attempts: number): number {
  return Math.min(FIRST_RETRY_MS * 4 ** (attempts - 1), RETRY_MAX_MS);
}
