// The drain: brings what the buffered intake holds into the ledger. Shares the shards with the other live workers.
import type { Clock } from "./ports/clock.ts";
import type { Ledger, ShardState, WorkerRegistry } from "./ports/ledger.ts";
import type { Logger } from "./ports/logger.ts";
import type { ShardStream } from "./ports/shard-stream.ts";
import type { Tracing } from "./ports/tracing.ts";
import { shardsOf } from "./shard-assignment.ts";
import { type DrainObserver, type GapReason, ShardDrain } from "./shard-drain.ts";

export interface DrainOptions {
  /** Unique among all workers, now and later. */
  readonly workerId: string;
  readonly shardCount: number;
  readonly stream: ShardStream;
  readonly ledger: Ledger;
  readonly registry: WorkerRegistry;
  readonly clock: Clock;
  readonly observer: DrainObserver;
  readonly tracing?: Tracing | undefined;
  readonly logger: Logger;
  /** In [0, 1). */
  readonly random: () => number;
}

const HEARTBEAT_MS = 2_000;
const WATERMARK_MS = 1_000;

/** One worker's share. `run` may be called once. */
export class Drain {
  readonly #options: DrainOptions;
  /** Shards that this worker drains; the signal ends the loop. */
  readonly #owned = new Map<number, AbortController>();
  /** Loops that have not ended, by shard: the next one of a shard waits for the last. */
  readonly #loops = new Map<number, Promise<void>>();
  /** Seen drained since watermarks were last raised. */
  readonly #drained = new Map<number, ShardState>();
  readonly #failing = new Set<number>();
  #heartbeatFails = false;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  /**
   * Drains until the signal aborts; then ends between two transactions and leaves the list of workers. Never rejects: while a store
   * is away it tries again, at most 5 s later.
   */
  async run(signal: AbortSignal): Promise<void> {
    const raising = this.#raiseWatermarks(signal);
    while (!signal.aborted) {
      await this.#rebalance();
      await this.#options.clock.sleep(HEARTBEAT_MS, signal);
    }
    for (const shard of [...this.#owned.keys()]) this.#stop(shard);
    await Promise.all([...this.#loops.values(), raising]);
    await this.#leave();
  }

  /** Says that this worker lives, and takes up or lays down shards as workers come and go. */
  async #rebalance(): Promise<void> {
    const { workerId, registry, shardCount, logger } = this.#options;
    let live: readonly string[];
    try {
      live = await registry.heartbeat(workerId);
      this.#heartbeatFails = false;
    } catch (err) {
      // Goes on with the shards it has: two drainers of a shard are no harm, none is.
      if (!this.#heartbeatFails)
        logger.warn({ err, workerId }, "the drain's heartbeat fails, its shards stay as they are");
      this.#heartbeatFails = true;
      return;
    }
    const shards = new Set(shardsOf(workerId, live, shardCount));
    const leaving = [...this.#owned.keys()].filter((shard) => !shards.has(shard));
    const coming = [...shards].filter((shard) => !this.#owned.has(shard));
    for (const shard of leaving) this.#stop(shard);
    for (const shard of coming) this.#start(shard);
    if (leaving.length > 0 || coming.length > 0) {
      logger.info({ workerId, workers: live.length, shards: [...shards] }, "the drain's shards changed");
    }
  }

  #start(shard: number): void {
    const controller = new AbortController();
    this.#owned.set(shard, controller);
    const { stream, ledger, clock, random, observer, tracing, logger } = this.#options;
    const drain = new ShardDrain({
      shard,
      stream,
      ledger,
      clock,
      random,
      tracing,
      observer: {
        applied: (...args) => observer.applied(...args),
        position: (...args) => observer.position(...args),
        gap: (gapShard: number, reason: GapReason) => {
          logger.error({ shard: gapShard, reason }, "acknowledged records may be lost; the ledger lists the gap");
          observer.gap(gapShard, reason);
        },
      },
      onDrained: (seen) => this.#drained.set(shard, seen),
      onRound: (_, failure) => this.#note(shard, failure),
    });
    const loop: Promise<void> = Promise.resolve(this.#loops.get(shard))
      .then(() => drain.run(controller.signal))
      .then(() => {
        if (this.#loops.get(shard) === loop) this.#loops.delete(shard);
      });
    this.#loops.set(shard, loop);
  }

  #stop(shard: number): void {
    this.#owned.get(shard)?.abort();
    this.#owned.delete(shard);
    this.#drained.delete(shard);
    this.#note(shard, undefined);
  }

  /** Once when the first shard fails, once when none does any more: an outage is two lines, not one a retry. */
  #note(shard: number, failure: unknown): void {
    const { logger } = this.#options;
    const before = this.#failing.size;
    if (failure === undefined) this.#failing.delete(shard);
    else this.#failing.add(shard);
    if (before === 0 && this.#failing.size > 0) logger.warn({ err: failure, shard }, "the drain waits for a store");
    if (before > 0 && this.#failing.size === 0) logger.info({}, "the drain goes on");
  }

  /** All drained shards in one statement, so that an idle service costs the database one write a second. */
  async #raiseWatermarks(signal: AbortSignal): Promise<void> {
    const { clock, ledger, logger } = this.#options;
    let failed = false;
    while (!signal.aborted) {
      await clock.sleep(WATERMARK_MS, signal);
      const seen = [...this.#drained.values()];
      this.#drained.clear();
      if (seen.length === 0) continue;
      try {
        await ledger.raiseWatermarks(seen);
        failed = false;
      } catch (err) {
        if (!failed) logger.warn({ err }, "watermarks cannot be raised");
        failed = true;
      }
    }
  }

  async #leave(): Promise<void> {
    const { workerId, registry, logger } = this.#options;
    try {
      await registry.leave(workerId);
    } catch (err) {
      // The others notice by the heartbeat that no longer comes.
      logger.warn({ err, workerId }, "the drain could not leave the list of workers");
    }
  }
}
