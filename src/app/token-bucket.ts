// How fast to send: at the configured rate while the sink takes it, half as fast after each round that it did not.
import type { Clock } from "./ports/clock.ts";

/** Slowest rate, requests a second, where the configured one is not slower. */
const RATE_MIN = 1;
/**
 * What a pause saves up: this much time of the rate, at least one request. Enough to make up for the commits between rounds; so little that
 * no second sees more than a tenth above the rate.
 */
const BURST_MS = 100;

/** A bucket of requests that fills at a rate, which halves on trouble and comes back by a quarter per round that went well. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #ratePerSecondMax: number;
  #ratePerSecond: number;
  /** Requests that may go at once; below 0, how many wait for their turn. As of #filledMs. */
  #tokens: number;
  #filledMs: number;

  constructor(ratePerSecondMax: number, clock: Clock) {
    this.#clock = clock;
    this.#ratePerSecondMax = ratePerSecondMax;
    this.#ratePerSecond = ratePerSecondMax;
    this.#tokens = this.#burst;
    this.#filledMs = clock.monotonicMs();
  }

  get ratePerSecond(): number {
    return this.#ratePerSecond;
  }

  /** Resolves when the next request may begin, or at once when `signal` aborts. First come, first served. */
  async take(signal: AbortSignal): Promise<void> {
    this.#fill();
    this.#tokens -= 1;
    if (this.#tokens < 0) await this.#clock.sleep((-this.#tokens / this.#ratePerSecond) * 1000, signal);
  }

  slowDown(): void {
    this.#fill();
    // Turns that were given out and not used are void, and nothing is saved up any more.
    this.#tokens = 0;
    this.#ratePerSecond = Math.max(Math.min(RATE_MIN, this.#ratePerSecondMax), this.#ratePerSecond / 2);
  }

  speedUp(): void {
    this.#fill();
    this.#ratePerSecond = Math.min(this.#ratePerSecondMax, this.#ratePerSecond * 1.25);
  }

  get #burst(): number {
    return Math.max(1, (this.#ratePerSecond * BURST_MS) / 1000);
  }

  #fill(): void {
    const nowMs = this.#clock.monotonicMs();
    const filled = this.#tokens + ((nowMs - this.#filledMs) * this.#ratePerSecond) / 1000;
    this.#tokens = Math.min(this.#burst, filled);
    this.#filledMs = nowMs;
  }
}
