// Group commit without timers: while one commit is in flight, what arrives waits; when it returns, all that wait go in the next.
// An idle lane commits as soon as the event loop has taken in what came with the same turn, a busy one batches by itself.
import { MeteringError } from "../domain/errors.ts";

/** Bounds and the commit of one lane. */
export interface LaneOptions<In, Out> {
  /** Stores items; a result for each, in order, else it is a bug. A rejection is given to every item of the batch. */
  readonly commit: (items: readonly In[]) => Promise<readonly Out[]>;
  /** Most items in one commit. */
  readonly maxBatch: number;
  /** Most items waiting; past it `submit` fails with intake_full. */
  readonly maxWaiting: number;
}

interface Submission<In, Out> {
  readonly items: readonly In[];
  readonly resolve: (results: readonly Out[]) => void;
  readonly reject: (cause: unknown) => void;
}

/** Time after which a caller that found the lane full should come back. */
const FULL_RETRY_MS = 200;

/** One queue with at most one commit in flight. Submissions are never split over commits. */
export class GroupCommitLane<In, Out> {
  readonly #options: LaneOptions<In, Out>;
  #waiting: Submission<In, Out>[] = [];
  #waitingCount = 0;
  #committing = false;

  constructor(options: LaneOptions<In, Out>) {
    this.#options = options;
  }

  /** Items that wait, those in flight not among them. */
  get waitingCount(): number {
    return this.#waitingCount;
  }

  /** Resolves when the items are committed. Rejects with intake_full (nothing stored) or with what the commit rejected with. */
  submit(items: readonly In[]): Promise<readonly Out[]> {
    // What finds the lane empty is taken, however much it is: else it never could be.
    if (this.#waitingCount > 0 && this.#waitingCount + items.length > this.#options.maxWaiting) {
      const failure = { kind: "intake_full", retryAfterMs: FULL_RETRY_MS } as const;
      return Promise.reject(new MeteringError(failure, "the intake's queue is full; nothing was stored"));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ items, resolve, reject });
      this.#waitingCount += items.length;
      if (this.#committing) return;
      this.#committing = true;
      // Not at once: one read of a socket brings many calls, and the first of them would go alone.
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      const items = batch.length === 1 && batch[0] ? batch[0].items : batch.flatMap((s) => s.items);
      try {
        const results = await this.#options.commit(items);
        if (results.length !== items.length) throw new Error(`${results.length} results for ${items.length} items`);
        let from = 0;
        for (const submission of batch) {
          const to = from + submission.items.length;
          submission.resolve(results.slice(from, to));
          from = to;
        }
      } catch (cause) {
        for (const submission of batch) submission.reject(cause);
      }
    }
    this.#committing = false;
  }

  /** The longest run of submissions that fits one commit; one that is too large for any goes alone. */
  #take(): Submission<In, Out>[] {
    let count = 0;
    let n = 0;
    for (const submission of this.#waiting) {
      if (n > 0 && count + submission.items.length > this.#options.maxBatch) break;
      count += submission.items.length;
      n += 1;
    }
    this.#waitingCount -= count;
    return this.#waiting.splice(0, n);
  }
}
