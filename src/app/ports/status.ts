// What an operator wants to know first: who leads, how far things have come, what is late, held or lost.
import type { DriftExplanation } from "../../domain/explain-drift.ts";
import type { Hindrance } from "../../domain/reconcile.ts";
import type { Deadline } from "./reports.ts";

/** As of one instant of the database's clock; times are ISO 8601, counts are numbers. */
export interface Status {
  readonly now: string;
  readonly intake: "redis" | "postgres" | null;
  readonly shards: number;
  /** Null when nobody leads. */
  readonly leader: { readonly holder: string; readonly epoch: number; readonly expiresInMs: number } | null;
  readonly drainWorkers: readonly string[];
  /** The lowest of all shards; null with Postgres intake, where there is no lag. */
  readonly watermark: string | null;
  readonly watermarkLagMs: number | null;
  /** The last 15 whole minutes of the database's clock, oldest first; minutes in which nothing was counted are left out. */
  readonly throughput: readonly {
    readonly minute: string;
    /** Decimal. */
    readonly records: string;
    readonly tokens: string;
  }[];
  readonly pending: {
    readonly windows: number;
    readonly oldestWindowStart: string | null;
    readonly unmappedCustomers: number;
    /** At most ten, in order. */
    readonly unmappedExamples: readonly string[];
  };
  /**
   * Who used something in the last quarter of an hour and has no subscription that is known here: Stripe counts what they use, and no invoice
   * bills it.
   */
  readonly unsubscribed: {
    readonly customers: number;
    /** At most ten, in order. */
    readonly examples: readonly string[];
  };
  /** Those that are not settled, and what was accepted of late. */
  readonly reports: Readonly<Record<"planned" | "sending" | "unknown" | "sent" | "held" | "acceptedLastDay", number>>;
  readonly deadlines: readonly Deadline[];
  /** By reason, with one of them. */
  readonly held: readonly {
    readonly reason: string;
    readonly reports: number;
    readonly example: {
      readonly identifier: string;
      readonly customerId: string;
      readonly eventName: string;
      readonly message: string;
    };
  }[];
  /** Usage that missed its own billing period; `metering reports list --late` lists it. */
  readonly late: {
    readonly reports: number;
    readonly held: number;
    /** Whose invoice is final and was not compared yet. */
    readonly periodsToClose: number;
    /** That were billed more than was reported. */
    readonly periodsExceeded: number;
  };
  /** Differences between Stripe's sums and what is believed of them, which are not repaired: by explanation, and by what keeps them so. */
  readonly drifts: readonly {
    readonly explanation: DriftExplanation;
    /** Empty: the leader is about to repair it. */
    readonly hindrance: Hindrance | "";
    readonly spans: number;
    readonly example: {
      readonly stripeCustomerId: string;
      readonly eventName: string;
      readonly from: string;
      readonly to: string;
      /** Decimal: what Stripe counted beyond what is believed. */
      readonly difference: string;
    };
  }[];
  readonly gaps: readonly {
    readonly shard: number;
    readonly lostFrom: string | null;
    readonly lostTo: string;
    readonly detectedAt: string;
  }[];
  readonly refusedRecords: Readonly<Record<string, number>>;
  readonly stripeEvents: { readonly waiting: number; readonly dead: number };
}
