// How fast to send: at the configured rate while the sink takes it, half as fast after each round that it did not.
import type { Clock } from "./ports/clock.ts";

/** Slowest rate, sends per second. */
const RATE_MIN = 1;

/** A rate that halves on trouble and comes back by a quarter per round that went well. */
export class SendRate {
  readonly #clock: Clock;
  readonly #ratePerSecondMax: number;
  #ratePerSecond: number;
  #nextMs = 0;

  constructor(ratePerSecondMax: number, clock: Clock) {
    this.#clock = clock;
    this.#ratePerSecondMax = ratePerSecondMax;
    this.#ratePerSecond = ratePerSecondMax;
  }

  get ratePerSecond(): number {
    return this.#ratePerSecond;
  }

  /** Resolves when the next send may begin, or at once when `signal` aborts. */
  async turn(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const atMs = Math.max(nowMs, this.#nextMs);
    this.#nextMs = atMs + 1000 / this.#ratePerSecond;
    if (atMs > nowMs) await this.#clock.sleep(atMs - nowMs, signal);
  }

  slowDown(): void {
    // Turns that were given out and not used are void.
    this.#nextMs = 0;
    this.#ratePerSecond = Math.max(RATE_MIN, this.#ratePerSecond / 2);
  }

  speedUp(): void {
    this.#ratePerSecond = Math.min(this.#ratePerSecondMax, this.#ratePerSecond * 1.25);
  }
}
