// Bounds how much runs at once; the rest waits in order.

export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** `permits`: most at once, at least 1. */
  constructor(permits: number) {
    this.#free = permits;
  }

  /** Runs `work` in its turn; settles as it does. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((admitted) => this.#waiting.push(admitted));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
