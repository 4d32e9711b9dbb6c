// What reconciliation stands on: what is believed of Stripe's sums, kept with the outbox, and the sums themselves.
import type { DriftExplanation } from "../../domain/explain-drift.ts";
import type { Apply, Remedy, SpanView, Verdict } from "../../domain/reconcile.ts";
import type { PlannedReport } from "../../domain/report.ts";
import type { Interval } from "../../domain/window.ts";
import type { LeaseGrant } from "./reports.ts";

/** One meter of one Stripe customer: what a sum of Stripe's is of. */
export interface MeteredCustomer {
  readonly stripeCustomerId: string;
  readonly eventName: string;
}

/** An hour that is to be compared. */
export interface HourToCompare {
  /** UTC, on the hour. */
  readonly startMs: number;
  /** Billing-period boundaries inside it. */
  readonly boundariesMs: readonly number[];
  /** Somebody asked for it. */
  readonly requested: boolean;
  /** What an operator wants done about drift in it. */
  readonly apply: Apply | undefined;
}

export interface Comparison extends MeteredCustomer {
  /** Ascending. */
  readonly hours: readonly HourToCompare[];
}

export interface ComparisonStep {
  readonly comparisons: readonly Comparison[];
  /** The database's time of this answer: what is read from Stripe is read later. */
  readonly readAtMs: number;
  /** Where the next step goes on; undefined at the end. */
  readonly next: MeteredCustomer | undefined;
}

/** What Stripe counted over a span, on whole minutes. */
export interface Reading extends Interval {
  readonly counted: bigint;
}

/** Freezes a remedy under the window's next two sequences. */
export type Freeze = (
  of: MeteredCustomer,
  remedy: Remedy,
  nextSequence: number,
) => { readonly booking: PlannedReport; readonly repair: PlannedReport };

export type Decide = (view: SpanView) => Verdict;

export interface AskedHour extends MeteredCustomer {
  readonly startMs: number;
}

/** A drift that was booked. */
export interface BookedDrift extends MeteredCustomer, Interval {
  readonly expected: bigint;
  readonly counted: bigint;
  readonly explanation: DriftExplanation;
  /** Identifier of the report that makes up for it, or would if it were not written off. */
  readonly repair: string;
}

export interface ReconcileState {
  readonly openDrifts: Readonly<Record<DriftExplanation, number>>;
  /** Since the oldest report was taken by Stripe that no sum has confirmed yet; 0 when there is none. */
  readonly oldestUnreconciledMs: number;
}

/** Writes carry the leader's grant and reject with StaleLeaseError, nothing written, once another epoch was given out. */
export interface Reconciliation {
  /**
   * Customers' meters, in their order from `after` on, at most `limit`, with the hours of each that are due: those over in which something
   * was taken that no sum has confirmed, those asked for, and those with a drift whose next look has come; all sends in them are settled
   * for `lagMs` at least. With `onlyAsked`, only those in which an operator wants something done. Some steps may hold nothing.
   */
  due(lagMs: number, onlyAsked: boolean, after: MeteredCustomer | undefined, limit: number): Promise<ComparisonStep>;
  /** Makes requests for longer or shorter spans into such for the hours that they touch. */
  cutRequests(grant: LeaseGrant): Promise<void>;
  /**
   * Judges readings of one customer's meter, taken after `readAtMs`, by `decide`, and does what it says of all of them, in one transaction.
   * A repair and the booking that it makes up for are written together. Nothing is done about "wait" and "narrow".
   */
  settle(
    grant: LeaseGrant,
    of: MeteredCustomer,
    readAtMs: number,
    readings: readonly Reading[],
    decide: Decide,
    freeze: Freeze,
  ): Promise<readonly Verdict[]>;
  /** As settle, but nothing is written. */
  look(
    of: MeteredCustomer,
    readAtMs: number,
    readings: readonly Reading[],
    decide: Decide,
  ): Promise<readonly Verdict[]>;
  /** Requests made until `readAtMs` for these hours are done; those that have to wait stay, without an operator waiting for them. */
  answered(
    grant: LeaseGrant,
    of: MeteredCustomer,
    readAtMs: number,
    done: readonly number[],
    waiting: readonly number[],
  ): Promise<void>;
  state(): Promise<ReconcileState>;
}

/** What `metering stripe reconcile` needs besides. */
export interface ReconcileRequests {
  /**
   * Every customer's meter that was ever reported to, in steps as `due`, each with all hours of the range, which begins and ends on the hour.
   * With a customer (the service's id, or Stripe's) only those of that one, and also those of `eventNames` that nothing was reported to.
   */
  everyHour(
    range: Interval,
    customerId: string | undefined,
    eventNames: readonly string[],
    after: MeteredCustomer | undefined,
    limit: number,
  ): Promise<ComparisonStep>;
  /** Asks the leader to do this about drift in these hours; what is asked last counts. Returns the database's time. */
  ask(hours: readonly AskedHour[], apply: Apply): Promise<number>;
  /** How many of an operator's requests are not answered yet. */
  unanswered(hours: readonly AskedHour[]): Promise<number>;
  /** Drifts of these hours that were booked since. */
  bookedSince(sinceMs: number, hours: readonly AskedHour[]): Promise<readonly BookedDrift[]>;
}

/** What Stripe counted. Reads only; rejects when it cannot be read, and as soon as `signal` aborts. */
export interface MeterSummaries {
  /**
   * Sums by hour, by its start, of an interval of at most HOURS_PER_READ hours, on the hour. Hours without usage are absent. Undefined where
   * Stripe has no meter for the event name that adds up all events, or no such customer. One request.
   */
  hours(of: MeteredCustomer, interval: Interval, signal: AbortSignal): Promise<ReadonlyMap<number, bigint> | undefined>;
  /** The sum over an interval, on whole minutes; undefined as above. One request. */
  sum(of: MeteredCustomer, interval: Interval, signal: AbortSignal): Promise<bigint | undefined>;
}

/** Stripe gives at most 100 windows an answer. */
export const HOURS_PER_READ = 100;
