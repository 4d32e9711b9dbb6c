// The order of everything. One thread, virtual time: each step runs the next thing that is due, and then all that follows from it at once,
// before time or anything else moves on. What is due at one instant comes in an order drawn from the seed.
import type { Random } from "../random.ts";

/** Something that is to happen. */
export interface Task {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** Where a part of a world puts what it is about to do. */
export interface Timeline {
  /** True time, which no part of the service can read: each has a clock of its own. */
  readonly nowMs: number;
  after(delayMs: number, run: () => void): Task;
  at(atMs: number, run: () => void): Task;
}

/** No world needs so many: something goes round and round. */
const STEPS_MAX = 2_000_000;

export class Scheduler implements Timeline {
  readonly #random: Random;
  /** A binary heap by time and order. */
  readonly #heap: Task[] = [];
  #nowMs: number;
  #steps = 0;
  #turnAsked = false;
  /** Set to end `run` after the step that is under way. */
  halted = false;

  constructor(startMs: number, random: Random) {
    this.#nowMs = startMs;
    this.#random = random;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get steps(): number {
    return this.#steps;
  }

  after(delayMs: number, run: () => void): Task {
    return this.at(this.#nowMs + Math.max(0, delayMs), run);
  }

  at(atMs: number, run: () => void): Task {
    return this.#put(atMs, this.#random, run);
  }

  /** The same time, with chance of its own: a part of the world that does more, or less, leaves the others as they were. */
  beside(random: Random): Timeline {
    const put = (atMs: number, run: () => void) => this.#put(atMs, random, run);
    const now = () => this.#nowMs;
    return {
      get nowMs() {
        return now();
      },
      after: (delayMs, run) => put(now() + Math.max(0, delayMs), run),
      at: put,
    };
  }

  #put(atMs: number, random: Random, run: () => void): Task {
    const task = { atMs: Math.max(atMs, this.#nowMs), order: random.unit(), run, cancelled: false };
    this.#push(task);
    return task;
  }

  /** What is under way asks the runtime for an immediate of its own: that comes before the next step. */
  askTurn(): void {
    this.#turnAsked = true;
  }

  /** Runs what is due until `untilMs`, until `isOver` says so, or until it is halted. `isOver` is asked between steps. */
  run(untilMs: number, isOver: () => boolean = () => false): Promise<void> {
    const isTurnAsked = () => {
      const asked = this.#turnAsked;
      this.#turnAsked = false;
      return asked;
    };
    return untilOver(() => !this.halted && !isOver() && this.#step(untilMs), isTurnAsked);
  }

  /** The next thing that is due; false: there is none by `untilMs`, and it is then. */
  #step(untilMs: number): boolean {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        return false;
      }
      this.#pop();
      if (next.cancelled) continue;
      this.#nowMs = next.atMs;
      this.#steps += 1;
      if (this.#steps > STEPS_MAX) throw new Error(`${STEPS_MAX} steps, and no end`);
      next.run();
      return true;
    }
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let i = heap.push(task) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up] as Task;
      if (!isBefore(task, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Task;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child += 1;
      if (!isBefore(heap[child] as Task, last)) break;
      heap[i] = heap[child] as Task;
      i = child;
    }
    heap[i] = last;
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Steps that are put in line at a time. */
const IN_LINE = 64;

/**
 * Takes one step after the other until one says that it was the last. Each is an immediate: before the next one comes, no promise has anything left
 * to run, and they come in the order in which they were asked for, so nothing is left to chance. Many are asked for at a time, since the
 * runtime looks for input and output only once for all of them: else that would be half of the time that a world takes. Where `isTurnAsked`
 * says that what follows from a step has asked for an immediate of its own, the line ends there and a new one begins behind it.
 */
function untilOver(step: () => boolean, isTurnAsked: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const line = () => {
      let left = IN_LINE;
      const next = () => {
        if (isOver || left === 0) return;
        left = isTurnAsked() ? 0 : left - 1;
        try {
          if (left > 0) isOver = !step();
          if (isOver) resolve();
          else if (left === 0) setImmediate(line);
        } catch (cause) {
          isOver = true;
          reject(cause);
        }
      };
      next();
      for (let i = 1; i < IN_LINE; i += 1) setImmediate(next);
    };
    line();
  });
}
