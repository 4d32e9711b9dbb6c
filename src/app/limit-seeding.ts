// Keys that were met without counters are seeded beside the calls that met them: nobody waits for it.
import { type KeyRef, keyId } from "../domain/limits.ts";
import { shardOf } from "../domain/shard.ts";
import type { Logger } from "./ports/logger.ts";
import { type SeedLimitsDependencies, seedLimits } from "./seed-limits.ts";

export interface LimitSeedingOptions extends SeedLimitsDependencies {
  readonly shardCount: number;
  readonly logger: Logger;
}

/** Most keys seeded at once; one pass over what waits in the stream serves them all. */
const BATCH_KEYS = 500;
/** Most keys of a shard that wait; who is not among them is met again with the next record. */
const WAITING_KEYS = 10_000;
/** After a shard that could not be seeded: its keys are met again and again meanwhile. */
const REST_MS = 1_000;

/** One seeding a shard at a time, and so one a key. */
export class LimitSeeding {
  readonly #options: LimitSeedingOptions;
  readonly #stop = new AbortController();
  /** By shard, those that wait. */
  readonly #waiting = new Map<number, Map<string, KeyRef>>();
  readonly #running = new Map<number, Promise<void>>();
  #failing = false;

  constructor(options: LimitSeedingOptions) {
    this.#options = options;
  }

  /** Costs next to nothing; what is asked for again is done once. */
  want(keys: readonly KeyRef[]): void {
    if (this.#stop.signal.aborted) return;
    for (const { customerId, apiKeyId } of keys) {
      const shard = shardOf(customerId, this.#options.shardCount);
      let waiting = this.#waiting.get(shard);
      if (waiting === undefined) {
        waiting = new Map();
        this.#waiting.set(shard, waiting);
      }
      if (waiting.size < WAITING_KEYS) waiting.set(keyId({ customerId, apiKeyId }), { customerId, apiKeyId });
      if (this.#running.has(shard)) continue;
      const running = this.#run(shard, waiting).finally(() => this.#running.delete(shard));
      this.#running.set(shard, running);
    }
  }

  /** Resolves when nothing is wanted any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /** Gives up what is under way: somebody else will meet it. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.idle();
  }

  async #run(shard: number, waiting: Map<string, KeyRef>): Promise<void> {
    const { clock, logger } = this.#options;
    const { signal } = this.#stop;
    while (waiting.size > 0 && !signal.aborted) {
      const batch = [...waiting].slice(0, BATCH_KEYS);
      let isSeeded = false;
      try {
        isSeeded = await seedLimits(
          this.#options,
          shard,
          batch.map(([, key]) => key),
          signal,
        );
        this.#failing = false;
      } catch (err) {
        if (!this.#failing)
          logger.warn({ err, shard }, "what keys used cannot be counted now; limits are told as of the ledger");
        this.#failing = true;
      }
      for (const [id] of batch) waiting.delete(id);
      if (!isSeeded) await clock.sleep(REST_MS, signal);
    }
  }
}
