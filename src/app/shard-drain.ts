// Moves one shard's stream into the ledger, exactly once: the cursor moves in the transaction that adds the records, by
// compare-and-set, so that any step may be repeated, by this worker or by another, after any crash.
import { compareEntryIds, entryTimeMs, FIRST_ENTRY_ID } from "../domain/entry-id.ts";
import { traceApply } from "./drain-spans.ts";
import type { Clock } from "./ports/clock.ts";
import type { ApplyOutcome, Ledger, ShardState } from "./ports/ledger.ts";
import type { ShardStream, StreamEntry, StreamState } from "./ports/shard-stream.ts";
import type { Tracing } from "./ports/tracing.ts";

/** What a drain tells of itself, for metrics. Called often: to be cheap, never to throw. */
export interface DrainObserver {
  /** Records of one transaction, committed. */
  applied(shard: number, outcomes: readonly ApplyOutcome[]): void;
  /** About once a second. `lagMs`: how far the watermark is behind the store's clock; `entryCount`: entries held for the ledger. */
  position(shard: number, lagMs: number, entryCount: number): void;
  /** Acknowledged records may be missing; the ledger lists the gap. */
  gap(shard: number, reason: GapReason): void;
}

export const GAP_REASONS = ["new_epoch", "lost_entries"] as const;

/** `new_epoch`: the store came back empty. `lost_entries`: it came back, or was left, without entries that it had. */
export type GapReason = (typeof GAP_REASONS)[number];

export interface ShardDrainOptions {
  readonly shard: number;
  readonly stream: ShardStream;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly observer: DrainObserver;
  readonly tracing?: Tracing | undefined;
  /** The shard was seen drained at the state's watermark. */
  readonly onDrained: (seen: ShardState) => void;
  /** A round ended well, or failed and will be tried again. */
  readonly onRound: (shard: number, failure: unknown) => void;
  /** In [0, 1): spreads retries. */
  readonly random: () => number;
}

const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5_000;
const LOOK_INTERVAL_MS = 1_000;
/**
 * Records come in as fast as they are sent; bringing them over a handful at a time costs Postgres five times as much a record as by the
 * hundred (measured). So where rounds are small one begins this long after the other, and more gather meanwhile: a time that no reader of live
 * totals notices, the round's own included, which is long where the machine is busy.
 */
const PACE_MS = 50;
const SMALL_RECORDS = 500;

export class ShardDrain {
  readonly #options: ShardDrainOptions;
  #failures = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(options: ShardDrainOptions) {
    this.#options = options;
  }

  /** Drains until the signal aborts; ends between two transactions. Never rejects: failures are told to onRound and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { shard, clock, onRound, random } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch (cause) {
        if (signal.aborted) return;
        onRound(shard, cause);
        const delayMs = Math.min(RETRY_MS_MIN * 2 ** Math.min(this.#failures, 10), RETRY_MS_MAX);
        this.#failures += 1;
        await clock.sleep(delayMs * (0.5 + random() / 2), signal);
      }
    }
  }

  /**
   * Follows the stream from where the ledger stands, and returns when it stands elsewhere than thought. A crash after
   * 1, 2 or 3: nothing has happened; the next drainer reads the same again.
   * 4: all or nothing of it is in the ledger. If it is, the next drainer begins after it; if only the answer was lost, so does this one.
   * 5: entries stay that are in the ledger; they are before the cursor, never read again, and go with the next trim.
   */
  async #follow(signal: AbortSignal): Promise<void> {
    const { stream, shard, onRound, clock } = this.#options;
    let at: ShardState | undefined = await this.#standing(); // 1
    while (at !== undefined && !signal.aborted) {
      const entries = await stream.read(shard, at.cursor, signal); // 2
      if (signal.aborted) return;
      const readMs = clock.monotonicMs();
      if (entries.length > 0) at = await this.#take(at, entries); // 3 to 5
      if (isSmall(entries)) await clock.sleep(Math.max(0, readMs + PACE_MS - clock.monotonicMs()), signal);
      if (at !== undefined && (entries.length === 0 || clock.monotonicMs() - this.#lookedMs >= LOOK_INTERVAL_MS)) {
        at = await this.#look(at);
      }
      this.#failures = 0;
      onRound(shard, undefined);
    }
  }

  async #standing(): Promise<ShardState> {
    const states = await this.#options.ledger.shards();
    const state = states.find((s) => s.shard === this.#options.shard);
    if (state === undefined) throw new Error(`the ledger has no shard ${this.#options.shard}`);
    return state;
  }

  /** Applies entries read after the cursor. Returns where the ledger stands then; undefined where that has to be asked. */
  async #take(at: ShardState, entries: readonly StreamEntry[]): Promise<ShardState | undefined> {
    const { stream, ledger, shard, observer, tracing } = this.#options;
    // 3. Do they follow on what the ledger has?
    if (entries.some((entry) => entry.epoch !== at.epoch)) {
      const state = await stream.state(shard);
      if (state.epoch !== at.epoch) return await this.#adopt(at, state);
      // Else they are left over from an epoch that ended without taking them along: records like any other.
    }
    const following = followers(at, entries);
    const last = following.at(-1);
    if (last === undefined) {
      const { nowMs } = await stream.state(shard);
      const previousEntryId = entries[0]?.previousEntryId ?? FIRST_ENTRY_ID;
      // Entries between the cursor and this one are gone; or else the cursor's own is, and what came instead may stand before it.
      const isAfter = compareEntryIds(previousEntryId, at.cursor) > 0;
      return await this.#resume(at, isAfter ? previousEntryId : FIRST_ENTRY_ID, nowMs);
    }
    // 4. Records, sums and cursor: one transaction.
    const toEntryId = last.entryId;
    const records = following.flatMap((entry) => entry.records);
    const watermarkMs = Math.max(entryTimeMs(toEntryId), at.watermarkMs ?? 0);
    const move = { shard, epoch: at.epoch, fromEntryId: at.cursor, toEntryId, watermarkMs };
    const about = { "metering.shard": shard, "metering.records": records.length };
    const result = await traceApply(tracing, records, about, () => ledger.apply(records, move));
    if (result.kind === "cursor_moved") return undefined;
    observer.applied(shard, result.outcomes);
    // 5. What is in the ledger need not be in the stream.
    await stream.trim(shard, toEntryId);
    return { shard, epoch: at.epoch, cursor: toEntryId, watermarkMs };
  }

  /** Compares with the stream as a whole: is it the same one, does it still hold what it had, is anything left to drain? */
  async #look(at: ShardState): Promise<ShardState | undefined> {
    const { stream, shard, observer, onDrained, clock } = this.#options;
    const state = await stream.state(shard);
    this.#lookedMs = clock.monotonicMs();
    if (state.epoch !== at.epoch) return await this.#adopt(at, state);
    const order = compareEntryIds(state.lastEntryId, at.cursor);
    // Before the cursor: it came back without its tail, and what it got since may stand before the cursor too. Or after the cursor,
    // and yet there is nothing to read.
    const isEmpty = state.entryCount === 0;
    if (order < 0 || (order > 0 && isEmpty)) {
      return await this.#resume(at, isEmpty ? state.lastEntryId : FIRST_ENTRY_ID, state.nowMs);
    }
    const seen = order === 0 ? { ...at, watermarkMs: Math.max(state.nowMs, at.watermarkMs ?? 0) } : at;
    if (order === 0) onDrained(seen);
    observer.position(shard, Math.max(0, state.nowMs - (seen.watermarkMs ?? state.nowMs)), state.entryCount);
    return seen;
  }

  /** Follows the epoch that the stream is in now, from its start. The ledger stores the gap. */
  async #adopt(at: ShardState, state: StreamState): Promise<undefined> {
    const { ledger, shard, observer } = this.#options;
    const adopted = await ledger.adoptEpoch(shard, at.epoch, state.epoch, state.nowMs);
    if (adopted && at.epoch !== "") observer.gap(shard, "new_epoch");
  }

  /**
   * Entries that the ledger should have got are gone: reports that, and goes on from `toEntryId`. What is read twice so is in the
   * ledger already, and found there as duplicates. Nothing of it when another drainer was there first.
   */
  async #resume(at: ShardState, toEntryId: string, nowMs: number): Promise<undefined> {
    const { ledger, shard, observer } = this.#options;
    const standing = await this.#standing();
    if (standing.epoch !== at.epoch || standing.cursor !== at.cursor) return;
    await ledger.reportLostTail(standing, nowMs);
    // A crash here: the same is found again, and reported once all the same.
    const watermarkMs = standing.watermarkMs ?? 0;
    await ledger.apply([], { shard, epoch: at.epoch, fromEntryId: at.cursor, toEntryId, watermarkMs });
    observer.gap(shard, "lost_entries");
  }
}

function isSmall(entries: readonly StreamEntry[]): boolean {
  const records = entries.reduce((sum, entry) => sum + entry.records.length, 0);
  return records > 0 && records < SMALL_RECORDS;
}

/**
 * The first of the entries, as far as each follows the one before it, the first one the cursor. A ledger that has nothing of the stream takes
 * whatever it begins with; and an entry left over from another epoch follows anything, since the change of epoch was reported. One that calls
 * itself the first of the stream, where the ledger has others, does not: the stream came back without all that it had.
 */
function followers(at: ShardState, entries: readonly StreamEntry[]): readonly StreamEntry[] {
  let previous = at.cursor;
  for (const [i, entry] of entries.entries()) {
    const follows = entry.previousEntryId === previous || previous === FIRST_ENTRY_ID || entry.epoch !== at.epoch;
    if (!follows) return entries.slice(0, i);
    previous = entry.entryId;
  }
  return entries;
}
