// What is to happen, and when: records that arrive, subscriptions that begin, faults that come and go.

export interface Happening {
  readonly atMs: number;
  readonly run: () => Promise<void>;
}

export class Timeline {
  readonly #happenings: Happening[] = [];

  /** Happenings of one instant run in the order in which they were put here. */
  put(atMs: number, run: () => Promise<void>): void {
    let at = this.#happenings.length;
    while (at > 0 && (this.#happenings[at - 1]?.atMs ?? 0) > atMs) at -= 1;
    this.#happenings.splice(at, 0, { atMs, run });
  }

  /** As put, for many at once. */
  putAll(happenings: readonly Happening[]): void {
    this.#happenings.push(...happenings);
    this.#happenings.sort((a, b) => a.atMs - b.atMs);
  }

  get nextMs(): number | undefined {
    return this.#happenings[0]?.atMs;
  }

  takeDue(nowMs: number): Happening[] {
    let count = 0;
    while ((this.#happenings[count]?.atMs ?? Number.POSITIVE_INFINITY) <= nowMs) count += 1;
    return this.#happenings.splice(0, count);
  }
}
