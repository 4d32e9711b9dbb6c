// How long the replay waits for a service or a Stripe that is away, or not yet done.
import type { Clock } from "../../app/ports/clock.ts";
import { CallFailure, type MeteringClient } from "../../rpc/client.ts";

/** The service did not answer, or not well, for too long. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

/** What was waited for has not moved for too long. */
export class StandstillError extends Error {
  override readonly name = "StandstillError";
}

export interface PatienceOptions {
  /** One attempt. */
  readonly callTimeoutMs: number;
  /** From the first attempt that failed to giving up. */
  readonly giveUpAfterMs: number;
  readonly clock: Clock;
  /** 0 <= random() < 1, for the spread of waits. */
  readonly random: () => number;
}

const BACK_OFF_FIRST_MS = 50;
const BACK_OFF_MAX_MS = 1_000;
const RETRY_AFTER_MAX_MS = 10_000;

/** Calls one service of several addresses, taking turns, and repeats calls that may be repeated. */
export class PatientCaller {
  readonly #clients: readonly MeteringClient[];
  readonly #options: PatienceOptions;
  #turn = 0;
  #retries = 0;

  constructor(clients: readonly MeteringClient[], options: PatienceOptions) {
    this.#clients = clients;
    this.#options = options;
  }

  /** Attempts that were made again, over all calls. */
  get retries(): number {
    return this.#retries;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  /**
   * Calls until it succeeds. Rejects with CallFailure when a repeat would not help, and with UnreachableError when time is up. `onFailure`
   * hears of each failed attempt that is followed by another.
   */
  async call<T>(
    attempt: (client: MeteringClient, timeoutMs: number) => Promise<T>,
    onFailure: (failure: CallFailure) => void = () => {},
  ): Promise<T> {
    const { callTimeoutMs, giveUpAfterMs, clock } = this.#options;
    const startMs = clock.monotonicMs();
    for (let failures = 0; ; failures += 1) {
      try {
        return await attempt(this.#next(), callTimeoutMs);
      } catch (cause) {
        if (!(cause instanceof CallFailure) || !cause.isRetriable) throw cause;
        if (clock.monotonicMs() - startMs >= giveUpAfterMs) throw unreachable(cause, giveUpAfterMs);
        onFailure(cause);
        this.#retries += 1;
        await clock.sleep(this.#waitMs(failures, cause.retryAfterMs));
      }
    }
  }

  #next(): MeteringClient {
    this.#turn = (this.#turn + 1) % this.#clients.length;
    const client = this.#clients[this.#turn];
    if (client === undefined) throw new Error("there is no address to call");
    return client;
  }

  /** Doubled per failure, half of it by chance, never shorter than asked for. */
  #waitMs(failures: number, retryAfterMs: number): number {
    const backOffMs = Math.min(BACK_OFF_FIRST_MS * 2 ** Math.min(failures, 10), BACK_OFF_MAX_MS);
    const spreadMs = backOffMs * (0.5 + this.#options.random() / 2);
    return Math.max(spreadMs, Math.min(retryAfterMs, RETRY_AFTER_MAX_MS));
  }
}

function unreachable(cause: CallFailure, giveUpAfterMs: number): UnreachableError {
  const seconds = Math.round(giveUpAfterMs / 1000);
  return new UnreachableError(`no success for ${seconds} s: ${cause.code}: ${cause.message}`, { cause });
}

/** Ends when what it watches has not moved for too long. */
export class StandstillTimer {
  readonly #limitMs: number;
  readonly #clock: Clock;
  #seen: unknown;
  #movedMs: number;

  constructor(limitMs: number, clock: Clock) {
    this.#limitMs = limitMs;
    this.#clock = clock;
    this.#movedMs = clock.monotonicMs();
  }

  /** Whether `state` has been the same for the whole limit. */
  standsStill(state: unknown): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (state !== this.#seen) {
      this.#seen = state;
      this.#movedMs = nowMs;
    }
    return nowMs - this.#movedMs >= this.#limitMs;
  }
}
