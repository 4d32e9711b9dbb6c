// All feeds of this replica. One look at the shards, a few times a second, tells whose totals changed, whichever replica took the records:
// a stream costs no query while its customer stands still, and streams of equal requests cost one among them.
import { shardOf } from "../domain/shard.ts";
import { type ReadUsageDependencies, selectionOf } from "./get-usage.ts";
import type { ShardChange } from "./ports/ledger.ts";
import { Semaphore } from "./semaphore.ts";
import { type FeedRequest, type SeenShard, UsageFeed } from "./usage-feed.ts";

/** Queries of all feeds at once; the pool's other connections are for calls. */
const FEED_READS_AT_ONCE = 4;

interface OpenFeed {
  readonly feed: UsageFeed;
  readonly key: string;
  readonly customerId: string;
  users: number;
}

/** A feed in use. */
export interface FeedLease {
  readonly feed: UsageFeed;
  /** To be called once. The last user's ends the feed. */
  close(): void;
}

export class UsageFeeds {
  readonly #deps: ReadUsageDependencies;
  readonly #lookEveryMs: number;
  readonly #turns = new Semaphore(FEED_READS_AT_ONCE);
  readonly #byKey = new Map<string, OpenFeed>();
  readonly #byCustomer = new Map<string, Set<UsageFeed>>();
  #seen: readonly SeenShard[] = [];
  #looking = false;

  /** `lookEveryMs`: how long a change may go unseen. */
  constructor(deps: ReadUsageDependencies, lookEveryMs: number) {
    this.#deps = deps;
    this.#lookEveryMs = lookEveryMs;
  }

  /** Feeds open now. */
  get size(): number {
    return this.#byKey.size;
  }

  /** The feed of an equal request, or a new one. */
  open(request: FeedRequest): FeedLease {
    const key = feedKey(request);
    const open = this.#byKey.get(key);
    const used = open ?? this.#add(key, request);
    used.users += 1;
    if (!this.#looking) void this.#look();
    return { feed: used.feed, close: () => this.#release(used) };
  }

  #add(key: string, request: FeedRequest): OpenFeed {
    const { customerId } = request;
    const shard = shardOf(customerId, this.#deps.shardCount);
    const feed = new UsageFeed(this.#deps, this.#turns, request, () => this.#seen[shard]);
    const open: OpenFeed = { feed, key, customerId, users: 0 };
    this.#byKey.set(key, open);
    const ofCustomer = this.#byCustomer.get(customerId);
    if (ofCustomer === undefined) this.#byCustomer.set(customerId, new Set([feed]));
    else ofCustomer.add(feed);
    return open;
  }

  #release(open: OpenFeed): void {
    open.users -= 1;
    if (open.users > 0) return;
    this.#drop(open);
  }

  #drop({ feed, key, customerId }: OpenFeed): void {
    if (this.#byKey.get(key)?.feed === feed) this.#byKey.delete(key);
    const ofCustomer = this.#byCustomer.get(customerId);
    ofCustomer?.delete(feed);
    if (ofCustomer?.size === 0) this.#byCustomer.delete(customerId);
  }

  /** Until no feed is open. A look that fails ends the feeds of that moment: their streams tell why, and new ones begin with a reading. */
  async #look(): Promise<void> {
    this.#looking = true;
    const { reader, clock } = this.#deps;
    while (this.#byKey.size > 0) {
      try {
        this.#tell(await reader.changes(this.#seen.map(({ version }) => version)));
      } catch (cause) {
        this.#seen = [];
        for (const open of [...this.#byKey.values()]) {
          this.#drop(open);
          open.feed.fail(cause);
        }
      }
      await clock.sleep(this.#lookEveryMs);
    }
    // Who opens the next feed begins with a look at every shard: nobody saw what happens until then.
    this.#seen = [];
    this.#looking = false;
  }

  #tell(changes: readonly ShardChange[]): void {
    this.#seen = changes;
    const unknown = new Set<number>();
    for (const [shard, { version, customers }] of changes.entries()) {
      if (customers === undefined) unknown.add(shard);
      else for (const customer of customers) this.#changed(customer, version);
    }
    if (unknown.size === 0) return;
    for (const customer of this.#byCustomer.keys()) {
      const shard = shardOf(customer, this.#deps.shardCount);
      const change = changes[shard];
      if (unknown.has(shard) && change !== undefined) this.#changed(customer, change.version);
    }
  }

  #changed(customer: string, version: bigint): void {
    for (const feed of this.#byCustomer.get(customer) ?? []) feed.changed(version);
  }
}

/** Injective over what is watched. */
export function feedKey(request: FeedRequest): string {
  return JSON.stringify([selectionOf(request), request.over]);
}
