// Counters of what keys used, in the intake and in the ledger.
import type { KeyRef, KeyUsage, LimitWindow } from "../../domain/limits.ts";

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
}
