// The drain's side of the streams.
import type { Redis } from "ioredis";
import type { ShardStream, StreamEntry, StreamState } from "../app/ports/shard-stream.ts";
import { streamKey } from "./keys.ts";
import { decodeRecord } from "./record-line.ts";
import { runState, runTrim } from "./scripts.ts";

export interface RedisShardStreamOptions {
  /** For everything that does not block. */
  readonly client: Redis;
  /** A connection that is not yet connected, for one shard's reads: see openBlockingRedis. Its commandTimeout must be well over a second. */
  readonly openReader: (shard: number) => Redis;
  /** A string that nobody else makes; names a stream that is new. */
  readonly randomId: () => string;
  /** A read ends with the entry that reaches this many records. Default 5,000. */
  readonly readRecords: number;
}

/** How long a read waits for the first entry. */
const BLOCK_MS = 1_000;
/** Most entries fetched in one round trip: bounds what one reply can hold, whatever the entries' size. */
const FETCH_ENTRIES_MAX = 100;

export type RawEntry = [entryId: string, fields: string[]];

export function redisShardStream(options: RedisShardStreamOptions): ShardStream {
  return new RedisShardStream(options);
}

/** As much of the streams as can be asked without reading them. */
export function redisStreamStates(client: Redis, randomId: () => string): Pick<ShardStream, "state"> {
  return { state: (shard) => runState(client, shard, randomId()) };
}

class RedisShardStream implements ShardStream {
  readonly #options: RedisShardStreamOptions;
  readonly #readers = new Map<number, Redis>();
  /** Records per entry in a shard's last read: how many entries to fetch at once without fetching far too much. */
  readonly #entrySize = new Map<number, number>();

  constructor(options: RedisShardStreamOptions) {
    this.#options = options;
  }

  async read(shard: number, afterEntryId: string, signal: AbortSignal): Promise<readonly StreamEntry[]> {
    if (signal.aborted) return [];
    try {
      return await this.#readBounded(await this.#readerOf(shard, signal), shard, afterEntryId);
    } catch (cause) {
      this.#readers.get(shard)?.disconnect();
      if (signal.aborted) return [];
      throw cause;
    }
  }

  async state(shard: number): Promise<StreamState> {
    return await runState(this.#options.client, shard, this.#options.randomId());
  }

  async trim(shard: number, entryId: string): Promise<void> {
    await runTrim(this.#options.client, shard, entryId);
  }

  /** The shard's connection, opened anew where it broke. It lives until the signal aborts: cutting it is the one way to end a block. */
  async #readerOf(shard: number, signal: AbortSignal): Promise<Redis> {
    const open = this.#readers.get(shard);
    if (open?.status === "ready") return open;
    open?.disconnect();
    const reader = this.#options.openReader(shard);
    this.#readers.set(shard, reader);
    const cut = () => reader.disconnect();
    signal.addEventListener("abort", cut, { once: true });
    reader.once("end", () => {
      signal.removeEventListener("abort", cut);
      if (this.#readers.get(shard) === reader) this.#readers.delete(shard);
    });
    await reader.connect();
    return reader;
  }

  async #readBounded(reader: Redis, shard: number, afterEntryId: string): Promise<StreamEntry[]> {
    const { readRecords } = this.#options;
    const count = Math.ceil(readRecords / (this.#entrySize.get(shard) ?? readRecords));
    const fetchCount = Math.min(count, FETCH_ENTRIES_MAX);
    const entries: StreamEntry[] = [];
    let records = 0;
    let fetched = await blockForEntries(reader, shard, afterEntryId, fetchCount);
    for (;;) {
      for (const raw of fetched) {
        if (records >= readRecords) break;
        const entry = parseEntry(raw);
        entries.push(entry);
        records += entry.records.length;
      }
      const last = entries.at(-1);
      if (last === undefined || fetched.length < fetchCount || records >= readRecords) break;
      fetched = (await reader.xrange(streamKey(shard), `(${last.entryId}`, "+", "COUNT", fetchCount)) as RawEntry[];
    }
    if (entries.length > 0) this.#entrySize.set(shard, Math.max(1, records / entries.length));
    return entries;
  }
}

async function blockForEntries(reader: Redis, shard: number, afterEntryId: string, count: number): Promise<RawEntry[]> {
  const reply = await reader.xread("COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", streamKey(shard), afterEntryId);
  return (reply?.[0]?.[1] ?? []) as RawEntry[];
}

export function parseEntry([entryId, fields]: RawEntry): StreamEntry {
  let epoch = "";
  let previousEntryId = "";
  let lines = "";
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const value = fields[i + 1] as string;
    if (fields[i] === "e") epoch = value;
    else if (fields[i] === "p") previousEntryId = value;
    else if (fields[i] === "r") lines = value;
  }
  return { entryId, previousEntryId, epoch, records: lines.split("\n").map(decodeRecord) };
}
