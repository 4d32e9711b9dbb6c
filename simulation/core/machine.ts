// A process, as far as it can fail: it dies with all its memory, stands still for a while, and its clock goes as it likes.
import type { Clock } from "../../src/app/ports/clock.ts";
import type { Scheduler } from "./scheduler.ts";

/** How a clock differs from true time. */
export interface Drift {
  readonly offsetMs: number;
  /** Of its seconds in a true second. */
  readonly rate: number;
}

export class Machine {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #drift: Drift;
  readonly #startMs: number;
  #alive = true;
  #pausedUntilMs = 0;

  constructor(name: string, scheduler: Scheduler, drift: Drift) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#drift = drift;
    this.#startMs = scheduler.nowMs;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  get isPaused(): boolean {
    return this.#scheduler.nowMs < this.#pausedUntilMs;
  }

  /** Nothing that it waits for comes any more. */
  kill(): void {
    this.#alive = false;
  }

  /** Nothing reaches it for so long; what comes meanwhile waits. */
  pause(durationMs: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#scheduler.nowMs + durationMs);
  }

  /** Something reaches the process: now, when its pause is over, or never. */
  deliver(run: () => void): void {
    if (!this.#alive) return;
    if (this.isPaused) this.#scheduler.at(this.#pausedUntilMs, () => this.deliver(run));
    else run();
  }

  /** Its clock. `stretch` makes sleeps of loops that only look for work longer, where a world is about days. */
  clock(stretch: (delayMs: number) => number = (delayMs) => delayMs): Clock {
    const { offsetMs, rate } = this.#drift;
    const elapsedMs = () => (this.#scheduler.nowMs - this.#startMs) * rate;
    return {
      nowMs: () => Math.floor(this.#startMs + offsetMs + elapsedMs()),
      monotonicMs: elapsedMs,
      // No timer is finer than a millisecond.
      sleep: (delayMs, signal) => this.#sleep(Math.max(1, stretch(delayMs) / rate), signal),
    };
  }

  #sleep(trueMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        task.cancelled = true;
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const task = this.#scheduler.after(trueMs, () => this.deliver(wake));
      signal?.addEventListener("abort", wake, { once: true });
    });
  }
}
