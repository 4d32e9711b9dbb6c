// What all streams of equal requests share: one reading, one query when it may have changed.
import { MeteringError } from "../domain/errors.ts";
import type { Interval } from "../domain/window.ts";
import { type ReadUsageDependencies, resolvePeriod, selectionOf, tokenMeters, toUsageTotal } from "./get-usage.ts";
import type { Semaphore } from "./semaphore.ts";
import type { UsageSelection, UsageTotal, WatchRequest } from "./usage-request.ts";
import { sameInterval } from "./watched-totals.ts";

/** Most totals that a stream may carry; past it the caller must ask for less. */
const WATCHED_TOTALS_MAX = 1_000;
/** A reading that nothing is known to have changed is made anew after this long all the same: a subscription may have moved its period. */
const READ_AGAIN_AFTER_MS = 60_000;

/** What is watched: requests that are equal in this share a feed. */
export type FeedRequest = UsageSelection & Pick<WatchRequest, "over">;

/** Totals, absolute, of one snapshot. */
export interface FeedReading {
  readonly interval: Interval;
  readonly totals: readonly UsageTotal[];
  /** Of the customer's shard: the totals are those of this version. */
  readonly version: bigint;
  readonly watermarkMs: number;
}

/** Where a shard was last seen to stand. */
export interface SeenShard {
  readonly version: bigint;
  readonly watermarkMs: number;
}

export class UsageFeed {
  readonly #deps: ReadUsageDependencies;
  readonly #turns: Semaphore;
  readonly #request: FeedRequest;
  readonly #seen: () => SeenShard | undefined;
  readonly #listeners = new Set<() => void>();
  #changedAt = 0n;
  #failure: unknown;
  #latest: FeedReading | undefined;
  #latestMs = Number.NEGATIVE_INFINITY;
  #waiting: Promise<FeedReading> | undefined;
  #running: Promise<void> | undefined;

  /** `turns` bounds the queries of all feeds; `seen` tells where the customer's shard was last seen to stand. */
  constructor(deps: ReadUsageDependencies, turns: Semaphore, request: FeedRequest, seen: () => SeenShard | undefined) {
    this.#deps = deps;
    this.#turns = turns;
    this.#request = request;
    this.#seen = seen;
  }

  /** The totals may differ since `version`. Wakes whoever listens. */
  changed(version: bigint): void {
    if (version > this.#changedAt) this.#changedAt = version;
    for (const listener of this.#listeners) listener();
  }

  /** Changes cannot be seen now: whoever asks next is told why. */
  fail(cause: unknown): void {
    this.#failure = cause;
    for (const listener of this.#listeners) listener();
  }

  /** Whether something is to be told to who has the totals of `version`. */
  hasNews(version: bigint): boolean {
    return this.#failure !== undefined || this.#changedAt > version;
  }

  /** Calls `listener` at every change, until the function that it returns is called. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** As new as what was seen of the shard, mostly without a query. Rejects with ledger_unavailable while Postgres is away. */
  async current(): Promise<FeedReading> {
    if (this.#failure !== undefined) throw this.#failure;
    const latest = this.#latest;
    const { clock } = this.#deps;
    const isOld = clock.monotonicMs() - this.#latestMs >= READ_AGAIN_AFTER_MS;
    if (latest === undefined || this.#changedAt > latest.version || isOld || clock.nowMs() >= latest.interval.endMs)
      return this.fresh();
    // Nobody named this customer up to the version that was seen: the totals are those of that version, too.
    const seen = this.#seen();
    if (seen === undefined || seen.version < latest.version) return latest;
    return { ...latest, version: seen.version, watermarkMs: Math.max(latest.watermarkMs, seen.watermarkMs) };
  }

  /** Read after this call, in one query with all others who ask until it begins. */
  fresh(): Promise<FeedReading> {
    this.#waiting ??= this.#readInTurn();
    return this.#waiting;
  }

  async #readInTurn(): Promise<FeedReading> {
    await this.#running;
    return this.#turns.run(async () => {
      this.#waiting = undefined;
      const running = Promise.withResolvers<void>();
      this.#running = running.promise;
      try {
        return this.#keep(await readTotals(this.#deps, this.#request, this.#latest?.interval));
      } finally {
        this.#running = undefined;
        running.resolve();
      }
    });
  }

  #keep(reading: FeedReading): FeedReading {
    const { monotonicMs } = this.#deps.clock;
    this.#latest = reading;
    this.#latestMs = monotonicMs();
    return reading;
  }
}

/** `guess`: the interval that it will be over, most likely: then the account need not be waited for first. */
async function readTotals(
  deps: ReadUsageDependencies,
  request: FeedRequest,
  guess: Interval | undefined,
): Promise<FeedReading> {
  const nowMs = deps.clock.nowMs();
  const [account, guessed] = await Promise.all([
    deps.reader.account(request.customerId, nowMs),
    guess === undefined || guess.endMs <= nowMs ? undefined : readInterval(deps, request, guess),
  ]);
  const interval = resolvePeriod(request.over, account.billingPeriod, nowMs, "UTC");
  if (guessed !== undefined && sameInterval(guessed.interval, interval)) return guessed;
  return readInterval(deps, request, interval);
}

async function readInterval(
  deps: ReadUsageDependencies,
  request: FeedRequest,
  interval: Interval,
): Promise<FeedReading> {
  const reading = await deps.reader.usage({
    ...selectionOf(request),
    windows: [interval],
    tokenMeters: tokenMeters(deps.catalog),
    after: undefined,
    limit: WATCHED_TOTALS_MAX,
  });
  if (reading.more) {
    const description = `splits into more than ${WATCHED_TOTALS_MAX} totals; watch fewer dimensions, meters or one API key`;
    throw new MeteringError(
      { kind: "invalid_request", violations: [{ field: "group_by", description }] },
      `group_by: ${description}`,
    );
  }
  const totals = reading.totals.map((total) => toUsageTotal(total, [interval], request.groupByLabels));
  return { interval, totals, version: reading.version, watermarkMs: reading.watermarkMs };
}
