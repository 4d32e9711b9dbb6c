// Virtual time: it stands still while anything is under way, and then moves to the next instant at which something happens.
import type { Clock } from "../src/app/ports/clock.ts";

/** How late a sleep of `delayMs` may end. Loops that only look whether there is work may be late; what measures time may not. */
export type Lateness = (delayMs: number) => number;

interface Sleeper {
  readonly dueMs: number;
  readonly latestMs: number;
  readonly wake: () => void;
}

export class VirtualClock implements Clock {
  readonly #startMs: number;
  readonly #lateness: Lateness;
  /** In the order in which they fell asleep. */
  readonly #sleepers = new Set<Sleeper>();
  #nowMs: number;

  constructor(startMs: number, lateness: Lateness) {
    this.#startMs = startMs;
    this.#nowMs = startMs;
    this.#lateness = lateness;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs - this.#startMs;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const dueMs = this.#nowMs + Math.max(0, delayMs);
      const wake = () => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper: Sleeper = { dueMs, latestMs: dueMs + this.#lateness(delayMs), wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }

  /** When time must stop for a sleeper at the latest; undefined while nobody sleeps. */
  get nextWakeMs(): number | undefined {
    let next: number | undefined;
    for (const { latestMs } of this.#sleepers) if (next === undefined || latestMs < next) next = latestMs;
    return next;
  }

  /** Moves time on and wakes all whose sleep is over, the one that was due first first. Throws RangeError for a time that has passed. */
  moveTo(nowMs: number): void {
    if (nowMs < this.#nowMs) throw new RangeError("time cannot go back");
    this.#nowMs = nowMs;
    const over = [...this.#sleepers].filter(({ dueMs }) => dueMs <= nowMs).sort((a, b) => a.dueMs - b.dueMs);
    for (const { wake } of over) wake();
  }
}
