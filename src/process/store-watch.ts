// Looks at the stores every quarter of a minute, for metrics.
import type { Clock } from "../app/ports/clock.ts";
import type { Logger } from "../app/ports/logger.ts";
import type { LedgerSigns } from "../postgres/vital-signs.ts";
import type { RedisSigns } from "../redis/vital-signs.ts";
import type { StoreMetrics } from "./store-metrics.ts";

export interface StoreWatchOptions {
  /** Each rejects when its store does not answer, within its client's own limits. */
  readonly readLedger: () => Promise<LedgerSigns>;
  readonly readDatabaseBytes: () => Promise<number>;
  /** Undefined with Postgres intake. */
  readonly readRedis: (() => Promise<RedisSigns>) | undefined;
  readonly metrics: StoreMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
}

const LOOK_INTERVAL_MS = 15_000;
const SIZE_INTERVAL_MS = 300_000;
/** A store that is silent for so long is taken for away. Its answer is waited for before it is asked again. */
const READ_TIMEOUT_MS = 5_000;

export class StoreWatch {
  readonly #options: StoreWatchOptions;
  readonly #asked = new Set<() => Promise<unknown>>();
  #sizedMs = Number.NEGATIVE_INFINITY;

  constructor(options: StoreWatchOptions) {
    this.#options = options;
  }

  /** Looks until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look(signal);
      await this.#options.clock.sleep(LOOK_INTERVAL_MS, signal);
    }
  }

  /** Looks once at all stores. Never rejects: a store that is away is what the metrics then say. */
  async look(signal: AbortSignal): Promise<void> {
    const { readLedger, readRedis, metrics } = this.#options;
    const redis = readRedis && this.#read(readRedis, signal).then(metrics.redis);
    metrics.ledger(await this.#read(readLedger, signal));
    await this.#size(signal);
    await redis;
  }

  async #size(signal: AbortSignal): Promise<void> {
    const { readDatabaseBytes, metrics, clock } = this.#options;
    if (clock.monotonicMs() - this.#sizedMs < SIZE_INTERVAL_MS) return;
    const bytes = await this.#read(readDatabaseBytes, signal);
    metrics.databaseBytes(bytes);
    if (bytes !== undefined) this.#sizedMs = clock.monotonicMs();
  }

  /** Undefined where there was no answer in time, or the last question of the kind is still open. */
  async #read<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    if (this.#asked.has(read)) return undefined;
    this.#asked.add(read);
    const answered = new AbortController();
    const late = this.#options.clock.sleep(READ_TIMEOUT_MS, AbortSignal.any([signal, answered.signal]));
    const answer = read()
      .catch((err: unknown) => {
        // Whoever works with the store says so at a level that is heard.
        this.#options.logger.debug({ err }, "a store could not be looked at for the metrics");
        return undefined;
      })
      .finally(() => {
        this.#asked.delete(read);
        answered.abort();
      });
    return await Promise.race([answer, late.then(() => undefined)]);
  }
}
