// One look at all shards serves every stream of this replica: an open stream costs no query while its customer's shard stands still.
import type { Clock } from "./ports/clock.ts";
import type { UsageReader } from "./ports/ledger.ts";
import { SharedReading } from "./shared-reading.ts";

export class ShardVersions {
  readonly #versions: SharedReading<readonly bigint[]>;

  /** `maxAgeMs`: how old an answer may be. */
  constructor(reader: Pick<UsageReader, "versions">, clock: Clock, maxAgeMs: number) {
    this.#versions = new SharedReading(() => reader.versions(), clock, maxAgeMs);
  }

  /** Version of a shard, at most `maxAgeMs` old. Callers at the same time share one query. Rejects when the ledger is away. */
  async current(shard: number): Promise<bigint> {
    const version = (await this.all())[shard];
    if (version === undefined) throw new Error(`no shard ${shard}`);
    return version;
  }

  /** Of every shard, index = shard. */
  all(): Promise<readonly bigint[]> {
    return this.#versions.current();
  }
}
