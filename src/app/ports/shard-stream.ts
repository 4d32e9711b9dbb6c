// The buffer in front of the ledger, one stream a shard (Redis). Read by the drain.
import type { UsageRecord } from "../../domain/usage-record.ts";

/** One group commit: records that became durable together. */
export interface StreamEntry {
  /** "milliseconds-sequence", ascending within a stream. No two histories of a stream share one: the sequence is random in part. */
  readonly entryId: string;
  /** The entry appended before it: a reader that stands elsewhere has lost something. */
  readonly previousEntryId: string;
  /** Identity of the stream that this entry was appended to; another one means that the store came back empty in between. */
  readonly epoch: string;
  readonly records: readonly UsageRecord[];
}

/** The stream as of one instant of the store's clock. */
export interface StreamState {
  /** Created at random by whoever asks first after the store came up empty. */
  readonly epoch: string;
  /** The last entry ever appended, "0-0" when none. */
  readonly lastEntryId: string;
  /** Entries not yet trimmed. */
  readonly entryCount: number;
  readonly nowMs: number;
}

export interface ShardStream {
  /** Entries after `afterEntryId`, oldest first, bounded in number; waits up to a second for the first one, then returns none. */
  read(shard: number, afterEntryId: string, signal: AbortSignal): Promise<readonly StreamEntry[]>;
  state(shard: number): Promise<StreamState>;
  /** Forgets entries up to and including `entryId`, which are in the ledger; none where that entry is not there (any more). */
  trim(shard: number, entryId: string): Promise<void>;
}
