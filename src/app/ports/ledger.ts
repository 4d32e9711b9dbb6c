// The ledger: what is true of usage. One adapter, postgres.

import type { Measurement, UsageRecord } from "../../domain/usage-record.ts";
import type { Interval } from "../../domain/window.ts";

/** Moves a shard's cursor, in the same transaction as the sums, if it still stands at `fromEntryId` of `epoch`. */
export interface CursorMove {
  readonly shard: number;
  readonly epoch: string;
  readonly fromEntryId: string;
  readonly toEntryId: string;
  /** Every record acknowledged before this instant is in the ledger once the move is committed. */
  readonly watermarkMs: number;
}

/**
 * How a record ended in the ledger. `key_reused`: the key stands for a different record. `overflow`: a sum would leave 64 bits.
 * `unstorable`: the database refuses it for what it holds. All three are listed as refused where the record was acknowledged before, that is, where it comes with a cursor.
 */
export type ApplyOutcome = "applied" | "duplicate" | "key_reused" | "overflow" | "unstorable";

export type ApplyResult =
  | { readonly kind: "applied"; readonly outcomes: readonly ApplyOutcome[] }
  /** Another drainer moved the cursor first; nothing was written. */
  | { readonly kind: "cursor_moved" };

/** A shard's row. */
export interface ShardState {
  readonly shard: number;
  /** Of the stream last drained; empty before the first. */
  readonly epoch: string;
  /** Entry id last applied. */
  readonly cursor: string;
  /** Undefined before the first drain of a buffered intake. */
  readonly watermarkMs: number | undefined;
}

export interface Ledger {
  /**
   * Applies records in one transaction: duplicate check, raw records, rollups, pending, and the cursor's move where there is one.
   * All or nothing; outcomes in order. With `move`, all records belong to that shard. Rejects when Postgres is away (outcome unknown).
   */
  apply(records: readonly UsageRecord[], move?: CursorMove): Promise<ApplyResult>;
  shards(): Promise<readonly ShardState[]>;
  /**
   * Follows a new stream from its start, if the shard still stands at `from.epoch`. Where there was an earlier epoch this is a loss:
   * a gap is stored from the old watermark to `nowMs`. Returns whether this call did it.
   */
  adoptEpoch(shard: number, fromEpoch: string, toEpoch: string, nowMs: number): Promise<boolean>;
  /** The stream lost its tail: its last entry is before the cursor. Stores a gap and lets the cursor stand. Idempotent per cursor. */
  reportLostTail(state: ShardState, nowMs: number): Promise<void>;
  /** Raises watermarks of shards that were seen drained at that instant, where cursor and epoch are still those seen. Never lowers one. */
  raiseWatermarks(seen: readonly ShardState[]): Promise<void>;
}

/** Takes a record back. */
export interface VoidRequest {
  readonly customerId: string;
  readonly idempotencyKey: string;
  /** Kept for people; a repeat's is not looked at. */
  readonly reason: string;
}

/** A record that was taken back. */
export interface VoidedRecord {
  /** Empty: none. */
  readonly apiKeyId: string;
  readonly eventTimeMs: number;
  /** What it no longer counts; one request goes with it. */
  readonly measurements: readonly Measurement[];
  /** Of the first void. */
  readonly reason: string;
  /** When the first void was committed, about, by the database's clock. */
  readonly voidedAtMs: number;
}

/**
 * How a void ended. `not_found`: the ledger holds no such record. It was never recorded, or waits in the buffer still, or its raw record
 * was dropped after the retention, or came after those of its day were.
 */
export type VoidResult =
  | { readonly kind: "voided"; readonly record: VoidedRecord }
  | { readonly kind: "already_voided"; readonly record: VoidedRecord }
  | { readonly kind: "not_found" };

export interface VoidLedger {
  /**
   * Takes a record out of all sums, in one transaction; the record itself and its key stay, so that it cannot come back under them.
   * Idempotent: a repeat changes nothing and gives the first one's record. Rejects with ledger_unavailable when Postgres is away, and
   * then the record may be voided or not.
   */
  voidRecord(request: VoidRequest): Promise<VoidResult>;
}

/** Which of the live workers this one is. */
export interface WorkerRegistry {
  /** Says that this worker lives; returns the ids of all that do (a heartbeat under 6 s old), ascending. */
  heartbeat(workerId: string): Promise<readonly string[]>;
  /** Takes this worker off the list, so that others take over at once. */
  leave(workerId: string): Promise<void>;
}

/** Totals asked of the ledger; the app has resolved periods and time zones already. */
export interface UsageQuery {
  readonly customerId: string;
  /** Ascending and adjacent; sums are given per window. */
  readonly windows: readonly Interval[];
  /** Undefined means all. */
  readonly apiKeyId: string | undefined;
  /** Empty means all. */
  readonly models: readonly string[];
  /** Empty means all. */
  readonly meters: readonly string[];
  readonly groupByApiKey: boolean;
  readonly groupByModel: boolean;
  readonly groupByLabels: readonly string[];
  /** Meters whose sum is tokensUsed. */
  readonly tokenMeters: readonly string[];
  /** Totals strictly after this one, in the order below; undefined means from the start. */
  readonly after: TotalKey | undefined;
  readonly limit: number;
}

/** What orders totals: window start, meter, API key, model, label values (in the order of groupByLabels). */
export interface TotalKey {
  readonly windowIndex: number;
  readonly meter: string;
  readonly apiKeyId: string;
  readonly model: string;
  readonly labelValues: readonly string[];
}

export interface Total extends TotalKey {
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/** One consistent snapshot of a customer. */
export interface UsageReading {
  /** At most `limit`. */
  readonly totals: readonly Total[];
  readonly more: boolean;
  /** Over all totals of the query, whatever `after` and `limit`. */
  readonly tokensUsed: bigint;
  readonly requests: bigint;
  readonly watermarkMs: number;
  /** Grows with every change to the customer's shard. */
  readonly version: bigint;
}

export interface ShardCursor {
  readonly epoch: string;
  readonly cursor: string;
  readonly epochLost: boolean;
}

/** A customer's account as GetUsage needs it. */
export interface AccountReading {
  /** Current billing period, where a subscription is known. */
  readonly billingPeriod: Interval | undefined;
  /** Stripe's word; empty when no subscription is known. */
  readonly subscriptionStatus: string;
  readonly entitled: boolean;
}

/** Quantities per Stripe event name in one interval. */
export interface BillingReading {
  readonly reported: ReadonlyMap<string, bigint>;
  readonly unreported: ReadonlyMap<string, bigint>;
}

/** Who used most of late. */
export interface Activity {
  /** Most tokens first. */
  readonly customerIds: readonly string[];
  /** Every record acknowledged before it, of any customer, is counted. */
  readonly watermarkMs: number;
}

export interface ActivityReader {
  /** At most `limit` customers that used anything in the last quarter of an hour. */
  mostActive(limit: number): Promise<Activity>;
}

/** Where a shard stands, and who changed since another version of it. */
export interface ShardChange {
  readonly version: bigint;
  /** Of what this version counts. */
  readonly watermarkMs: number;
  /** Whose totals may differ; nobody else's do. Undefined: not known, it may be anybody's. */
  readonly customers: readonly string[] | undefined;
}

export interface UsageReader {
  usage(query: UsageQuery): Promise<UsageReading>;
  billing(customerId: string, interval: Interval): Promise<BillingReading>;
  account(customerId: string, nowMs: number): Promise<AccountReading>;
  /** Where one shard stands, for consistency tokens; `epochLost`: the stream of `epoch` was followed once and is gone. */
  cursor(shard: number, epoch: string): Promise<ShardCursor>;
  /** Each shard, index = shard, of one snapshot: whose totals changed since it stood at the version known. `known` may be empty. */
  changes(known: readonly bigint[]): Promise<readonly ShardChange[]>;
}
