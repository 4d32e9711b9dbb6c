// A stream's pause: until its time is over, something happens, or the stream ends.
import type { Clock } from "./ports/clock.ts";

export class WakeableSleep {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #wake = () => this.wake();
  #current: AbortController | undefined;

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    signal.addEventListener("abort", this.#wake);
  }

  /** Ends the pause under way, if any. */
  wake(): void {
    this.#current?.abort();
  }

  /** At once where the stream has ended, or `isOver()` already. One at a time. */
  async sleep(delayMs: number, isOver: () => boolean): Promise<void> {
    if (delayMs <= 0 || this.#signal.aborted || isOver()) return;
    this.#current = new AbortController();
    await this.#clock.sleep(delayMs, this.#current.signal);
    this.#current = undefined;
  }

  /** To be called when no pause follows. */
  close(): void {
    this.#signal.removeEventListener("abort", this.#wake);
  }
}
