// A process, as far as it can fail: it dies with all its memory, stands still for a while, and its clock goes as it likes.
import type { Clock } from "../../src/app/ports/clock.ts";
import type { Timeline } from "./scheduler.ts";

/** How a clock differs from true time. */
export interface Drift {
  readonly offsetMs: number;
  /** Of its seconds in a true second. */
  readonly rate: number;
}

export class Machine {
  readonly name: string;
  readonly #timeline: Timeline;
  readonly #drift: Drift;
  readonly #startMs: number;
  #alive = true;
  #pausedUntilMs = 0;
  #setByMs = 0;

  constructor(name: string, timeline: Timeline, drift: Drift) {
    this.name = name;
    this.#timeline = timeline;
    this.#drift = drift;
    this.#startMs = timeline.nowMs;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  get isPaused(): boolean {
    return this.#timeline.nowMs < this.#pausedUntilMs;
  }

  /** Nothing that it waits for comes any more. */
  kill(): void {
    this.#alive = false;
  }

  /** Nothing reaches it for so long; what comes meanwhile waits. */
  pause(durationMs: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#timeline.nowMs + durationMs);
  }

  /** Somebody sets its clock, forward or back; what it measures times by goes on as before. */
  setClock(byMs: number): void {
    this.#setByMs += byMs;
  }

  /** Something reaches the process: now, when its pause is over, or never. */
  deliver(run: () => void, timeline = this.#timeline): void {
    if (!this.#alive) return;
    if (this.isPaused) timeline.at(this.#pausedUntilMs, () => this.deliver(run, timeline));
    else run();
  }

  /** Its clock. `stretch` makes sleeps of loops that only look for work longer, where a world is about days. */
  clock(stretch: (delayMs: number) => number = (delayMs) => delayMs, timeline = this.#timeline): Clock {
    const { offsetMs, rate } = this.#drift;
    const elapsedMs = () => (timeline.nowMs - this.#startMs) * rate;
    return {
      nowMs: () => Math.floor(this.#startMs + offsetMs + this.#setByMs + elapsedMs()),
      monotonicMs: elapsedMs,
      // No timer is finer than a millisecond.
      sleep: (delayMs, signal) => this.#sleep(Math.max(1, stretch(delayMs) / rate), signal, timeline),
    };
  }

  #sleep(trueMs: number, signal: AbortSignal | undefined, timeline: Timeline): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        task.cancelled = true;
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const task = timeline.after(trueMs, () => this.deliver(wake, timeline));
      signal?.addEventListener("abort", wake, { once: true });
    });
  }
}
