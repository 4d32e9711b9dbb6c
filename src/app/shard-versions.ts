// One look at all shards serves every stream of this replica: an open stream costs no query while its customer's shard stands still.
import type { Clock } from "./ports/clock.ts";
import type { UsageReader } from "./ports/ledger.ts";

export class ShardVersions {
  readonly #reader: UsageReader;
  readonly #clock: Clock;
  readonly #maxAgeMs: number;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<readonly bigint[]> = Promise.resolve([]);

  /** `maxAgeMs`: how old an answer may be. */
  constructor(reader: UsageReader, clock: Clock, maxAgeMs: number) {
    this.#reader = reader;
    this.#clock = clock;
    this.#maxAgeMs = maxAgeMs;
  }

  /** Version of a shard, at most `maxAgeMs` old. Callers at the same time share one query. Rejects when the ledger is away. */
  async current(shard: number): Promise<bigint> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#readAtMs >= this.#maxAgeMs) {
      this.#readAtMs = nowMs;
      this.#reading = this.#reader.versions();
    }
    try {
      const version = (await this.#reading)[shard];
      if (version === undefined) throw new Error(`no shard ${shard}`);
      return version;
    } catch (cause) {
      this.#readAtMs = Number.NEGATIVE_INFINITY;
      throw cause;
    }
  }
}
