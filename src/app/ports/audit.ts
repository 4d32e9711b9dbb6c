// The audit: sums of whole UTC days, against the raw records that they are made of.
import type { Difference } from "../../domain/audit.ts";
import type { Interval } from "../../domain/window.ts";

/** What one look at a day of a customer said. */
export interface DayAudit {
  /** False: the day's raw records were dropped after the retention, or never kept. Then only the outbox' arithmetic was looked at. */
  readonly verified: boolean;
  readonly differences: readonly Difference[];
}

/** What was done about a day. */
export interface DayRebuild {
  /** False: as above, and nothing was done. */
  readonly verified: boolean;
  /** Differences that are none any more. */
  readonly rebuilt: readonly Difference[];
  /** Those of what was reported and accepted: only a person can say which side is right. */
  readonly left: readonly Difference[];
}

export interface AuditLedger {
  /** Customers with anything in the interval, in an order of the ledger's own, after `after`; at most `limit`, fewer at the end only. */
  customers(interval: Interval, after: string | undefined, limit: number): Promise<readonly string[]>;
  /** Starts of the UTC days of the interval in which the customer has anything; ascending. */
  days(customerId: string, interval: Interval): Promise<readonly number[]>;
  /** Compares one day, as of one instant; writes nothing, and nobody waits for it. */
  verify(customerId: string, dayMs: number): Promise<DayAudit>;
  /** Makes rollups and totals of one day what its raw records add up to, in one transaction. Records of the shard wait meanwhile. */
  rebuild(customerId: string, dayMs: number): Promise<DayRebuild>;
}
