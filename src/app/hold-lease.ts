// Leadership: campaigning for the lease, working while it holds, stopping when it does not.
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";
import type { Lease, LeaseGrant } from "./ports/reports.ts";

/** How a lease is held. renewMs must be under a third of ttlMs, so that two renewals may fail before the lease is lost. */
export interface LeaseTiming {
  /** How long a grant holds without renewal: 6,000 makes a takeover after a kill last 7 s at most. */
  readonly ttlMs: number;
  readonly renewMs: number;
  /** Between campaigns, and before the next one after work that failed. */
  readonly retryMs: number;
  /** How long work may go on after a stop was asked, before its signal is aborted. */
  readonly stopGraceMs: number;
}

export const LEASE_TIMING: LeaseTiming = { ttlMs: 6_000, renewMs: 1_500, retryMs: 1_000, stopGraceMs: 5_000 };

/** One time of leading, as the work sees it. */
export interface Tenure {
  readonly grant: LeaseGrant;
  /** Aborts when the lease may no longer be held, or the grace after a stop is over: give up at once what is under way. */
  readonly signal: AbortSignal;
  /** Aborts when a stop was asked: begin nothing new. The lease is still held, so that what is under way may be finished. */
  readonly stopping: AbortSignal;
  /**
   * Whether to begin something now. Reads the clock itself: a process that was paused past its lease must not act before the timer that
   * aborts `signal` has had its turn.
   */
  mayBegin(): boolean;
}

export interface LeaseHolderOptions {
  readonly lease: Lease;
  /** Names this process to operators. */
  readonly holder: string;
  readonly timing: LeaseTiming;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Campaigns for the lease until `stop` aborts, and runs `work` each time it is won; work that ends or fails is followed by a release,
 * so that another takes over at once, and by a new campaign. Resolves once all work has ended and the lease is free. Never rejects:
 * failures are logged, and the next tenure starts from what is stored.
 */
export async function runWhileHeld(
  options: LeaseHolderOptions,
  stop: AbortSignal,
  work: (tenure: Tenure) => Promise<void>,
): Promise<void> {
  const { lease, holder, timing, clock, logger } = options;
  let away = false;
  while (!stop.aborted) {
    // Conservative: the database's ttl begins after this instant.
    const askedMs = clock.monotonicMs();
    let grant: LeaseGrant | undefined;
    try {
      grant = await lease.acquire(holder, timing.ttlMs);
      away = false;
    } catch (err) {
      // One line an outage.
      if (!away) logger.warn({ err }, "could not campaign for the lease; trying again until it can be had");
      away = true;
    }
    if (grant !== undefined) await lead(options, stop, grant, askedMs, work);
    await clock.sleep(timing.retryMs, stop);
  }
}

async function lead(
  options: LeaseHolderOptions,
  stop: AbortSignal,
  grant: LeaseGrant,
  askedMs: number,
  work: (tenure: Tenure) => Promise<void>,
): Promise<void> {
  const { lease, logger } = options;
  const ended = new AbortController();
  const hold = new Hold(options, grant, stop, askedMs + grant.ttlMs);
  logger.info({ epoch: String(grant.epoch) }, "took the lease");
  const keeping = hold.keep(ended.signal);
  const stopping = hold.endAfterGrace(ended.signal);
  try {
    await work(hold);
  } catch (err) {
    // Fencing and frozen intents make it safe to drop everything in hand and start over.
    logger.error({ err, epoch: String(grant.epoch) }, "the leader's work failed");
  }
  ended.abort();
  await Promise.all([keeping, stopping]);
  try {
    await lease.release(grant);
    logger.info({ epoch: String(grant.epoch) }, "released the lease");
  } catch (err) {
    logger.warn({ err, epoch: String(grant.epoch) }, "could not release the lease; it runs out by itself");
  }
}

/** A grant that is kept alive. Held until expiresMs, which every renewal moves. */
class Hold implements Tenure {
  readonly grant: LeaseGrant;
  readonly stopping: AbortSignal;
  readonly #options: LeaseHolderOptions;
  readonly #lost = new AbortController();
  #expiresMs: number;

  constructor(options: LeaseHolderOptions, grant: LeaseGrant, stopping: AbortSignal, expiresMs: number) {
    this.#options = options;
    this.grant = grant;
    this.stopping = stopping;
    this.#expiresMs = expiresMs;
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  mayBegin(): boolean {
    return !this.#lost.signal.aborted && !this.stopping.aborted && this.#options.clock.monotonicMs() < this.#expiresMs;
  }

  /** Renews until `ended` aborts or the lease is lost; a renewal that fails is tried again until the grant has run out. */
  async keep(ended: AbortSignal): Promise<void> {
    const { timing, clock, logger } = this.#options;
    while (!ended.aborted) {
      await clock.sleep(Math.min(timing.renewMs, this.#leftMs()), ended);
      if (ended.aborted) return;
      const answer = await this.#renew(ended);
      if (answer === "lost" || this.#leftMs() === 0) {
        logger.warn({ epoch: String(this.grant.epoch) }, "lost the lease");
        this.#lost.abort();
        return;
      }
    }
  }

  /** Aborts the work when it goes on too long after a stop. */
  async endAfterGrace(ended: AbortSignal): Promise<void> {
    await aborted(AbortSignal.any([this.stopping, ended]));
    await this.#options.clock.sleep(this.#options.timing.stopGraceMs, ended);
    this.#lost.abort();
  }

  /** A call that hangs is not waited for past the grant's end. */
  async #renew(ended: AbortSignal): Promise<"held" | "lost" | "failed"> {
    const { lease, clock, logger } = this.#options;
    const askedMs = clock.monotonicMs();
    const asked = lease.renew(this.grant).then(
      (renewed) => {
        if (renewed === undefined) return "lost";
        this.#expiresMs = askedMs + renewed.ttlMs;
        return "held";
      },
      (err: unknown) => {
        logger.warn({ err, epoch: String(this.grant.epoch) }, "could not renew the lease");
        return "failed" as const;
      },
    );
    return Promise.race([asked, clock.sleep(this.#leftMs(), ended).then(() => "failed" as const)]);
  }

  #leftMs(): number {
    return Math.max(0, this.#expiresMs - this.#options.clock.monotonicMs());
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
