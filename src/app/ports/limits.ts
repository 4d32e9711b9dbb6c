// Counters of what keys used, in the intake and in the ledger.
import type { WindowCounter } from "../../domain/limit-counters.ts";
import type { KeyRef, KeyUsage, LimitWindow } from "../../domain/limits.ts";
import type { StreamEntry } from "./shard-stream.ts";

/** What keys used, as of now. */
export interface LimitCounters {
  /** In the order of `keys`, which are distinct and defined. Undefined: not known now. Rejects where the store is away. */
  read(keys: readonly KeyRef[]): Promise<readonly (KeyUsage | undefined)[]>;
}

/** A window whose counter differs from the sums of the ledger. */
export interface LedgerDrift extends KeyRef {
  readonly window: LimitWindow;
  readonly windowStartMs: number;
  readonly counted: bigint;
  readonly recorded: bigint;
}

/** One page of a comparison of counters with the ledger's sums. */
export interface LedgerComparison {
  readonly drifts: readonly LedgerDrift[];
  /** Keys looked at, in order; fewer than asked for at the end. */
  readonly keys: readonly KeyRef[];
}

export interface LimitLedger {
  /**
   * Compares counters of up to `limit` keys after one with rollups (days) and raw records (minutes; of customers whose records of the day
   * are few enough to be read), in one snapshot, without a lock.
   */
  compare(after: KeyRef | undefined, limit: number, nowMs: number): Promise<LedgerComparison>;
  /** Counts a key anew from the ledger, in one transaction that holds its shard. Nothing where it is not defined. */
  recount(key: KeyRef): Promise<void>;
  /** Counters of keys of one shard as they stand there, and how far the ledger had come, in one snapshot. */
  snapshot(shard: number, keys: readonly KeyRef[]): Promise<LedgerSnapshot>;
}

export interface LedgerSnapshot {
  /** Of the stream that the ledger follows. */
  readonly epoch: string;
  /** The last entry that it applied. */
  readonly cursor: string;
  /** In the order of the keys; undefined for one that is not defined. */
  readonly counters: readonly (readonly WindowCounter[] | undefined)[];
}

/**
 * Counters in a buffered intake, beside the stream of their shard. Each record that is appended counts in the same step, whatever the replica that
 * takes it knows of its key, once the key was begun here; what it used before is brought from the ledger. All reject while the store is away.
 */
export interface IntakeLimits extends LimitCounters {
  /**
   * Begins those keys of a shard that are not counted, or whose seeding was given up (it began more than SEEDING_GIVEN_UP_MS ago), or that stand
   * in the generation that is to be replaced: counted from here on, and not known until completed.
   */
  begin(shard: number, keys: readonly KeyToBegin[], generation: string): Promise<BegunKeys>;
  /** Entries after one, oldest first, at most `limit`, without waiting. Fewer where some were trimmed: see previousEntryId. */
  entriesAfter(shard: number, entryId: string, limit: number): Promise<readonly StreamEntry[]>;
  /** Adds what was used up to the entry after which a key was begun. False: it was begun again since, or is complete already. Idempotent. */
  complete(shard: number, key: KeyRef, begun: Begun, counters: readonly WindowCounter[]): Promise<boolean>;
  /** Counters of keys of one shard, at one instant of its stream. */
  look(shard: number, keys: readonly KeyRef[]): Promise<IntakeLook>;
  /** Takes in what is void, as absolute numbers that were read after the look that told of `generation`. Idempotent, in any order. */
  raiseVoided(shard: number, key: KeyRef, generation: string, counters: readonly WindowCounter[]): Promise<void>;
}

/** How long others leave a key alone that is being seeded; longer than seedLimits takes, as a rule. To begin it anew does no harm, but costs. */
export const SEEDING_GIVEN_UP_MS = 2_000;

export interface KeyToBegin extends KeyRef {
  /** Begun anew where it stands in this generation. */
  readonly replacing?: string | undefined;
}

/** When keys were begun. */
export interface Begun {
  readonly epoch: string;
  readonly generation: string;
  /** The last entry before that instant. */
  readonly lastEntryId: string;
}

export interface BegunKeys extends Omit<Begun, "generation"> {
  /** In the order of the keys. False: complete, or somebody else is at it. */
  readonly begun: readonly boolean[];
}

export interface IntakeLook {
  /** Empty where there is no stream. */
  readonly epoch: string;
  /** What entries up to this one brought is counted, and nothing else. */
  readonly lastEntryId: string;
  /** In the order of the keys; undefined for one that is not counted, or is being seeded. */
  readonly keys: readonly (CountedKey | undefined)[];
}

export interface CountedKey {
  readonly generation: string;
  readonly counters: readonly WindowCounter[];
}
