// What is due later: renewals, finalizations, cancellations.

/** One thing to be done at a time. `key` is unique; scheduling it again moves it. */
export interface Job {
  readonly key: string;
  readonly dueMs: number;
  readonly run: () => void;
}

/** Jobs in the order of their due time, those of equal time in the order they were scheduled. */
export class Schedule {
  readonly #jobs: Job[] = [];

  get nextDueMs(): number | undefined {
    return this.#jobs[0]?.dueMs;
  }

  /** When the job of this key is due, if there is one. */
  dueMs(key: string): number | undefined {
    return this.#jobs.find((job) => job.key === key)?.dueMs;
  }

  put(job: Job): void {
    this.drop(job.key);
    let at = this.#jobs.length;
    while (at > 0 && (this.#jobs[at - 1]?.dueMs ?? 0) > job.dueMs) at -= 1;
    this.#jobs.splice(at, 0, job);
  }

  drop(key: string): void {
    const at = this.#jobs.findIndex((job) => job.key === key);
    if (at >= 0) this.#jobs.splice(at, 1);
  }

  /** Takes the earliest job that is due at `nowMs`. */
  takeDue(nowMs: number): Job | undefined {
    const first = this.#jobs[0];
    return first !== undefined && first.dueMs <= nowMs ? this.#jobs.shift() : undefined;
  }
}
