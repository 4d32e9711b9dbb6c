// Deadlines of many short calls, looked at by one timer now and then. Callers' deadlines all differ, and Node keeps a list and a queue
// entry for every length of timer: one timer a call would show in the rate.

/** How often deadlines are looked at: how late one may be noticed. */
const LOOK_EVERY_MS = 50;

/** One deadline. */
export interface Deadline {
  /** On the clock that Deadlines was made with. */
  readonly atMs: number;
  /** Called once, when it has passed. Must not throw. */
  readonly passed: () => void;
}

/** The deadlines of the calls under way. Adding and removing is constant; a look costs as many steps as there are calls. */
export class Deadlines {
  readonly #nowMs: () => number;
  readonly #open = new Set<Deadline>();
  #timer: NodeJS.Timeout | undefined;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  add(deadline: Deadline): void {
    this.#open.add(deadline);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  remove(deadline: Deadline): void {
    this.#open.delete(deadline);
  }

  #look(): void {
    const nowMs = this.#nowMs();
    for (const deadline of this.#open) {
      if (deadline.atMs > nowMs) continue;
      this.#open.delete(deadline);
      deadline.passed();
    }
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
