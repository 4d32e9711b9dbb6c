// One reading for all who ask at about the same time.
import type { Clock } from "./ports/clock.ts";

export class SharedReading<T> {
  readonly #read: () => Promise<T>;
  readonly #clock: Clock;
  readonly #maxAgeMs: number;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<T> | undefined;

  /** `maxAgeMs`: how old an answer may be, from when its reading began. */
  constructor(read: () => Promise<T>, clock: Clock, maxAgeMs: number) {
    this.#read = read;
    this.#clock = clock;
    this.#maxAgeMs = maxAgeMs;
  }

  /** The last reading, or a new one where that is too old or failed. Rejects as the reading does, to all who share it. */
  async current(): Promise<T> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#reading === undefined || nowMs - this.#readAtMs >= this.#maxAgeMs) {
      this.#readAtMs = nowMs;
      this.#reading = this.#read();
    }
    const reading = this.#reading;
    try {
      return await reading;
    } catch (cause) {
      if (this.#reading === reading) this.#reading = undefined;
      throw cause;
    }
  }
}
