// The outbox: pending windows, frozen reports, who may send them, and where to.
import type {
  PendingWindow,
  PlanContext,
  PlannedReport,
  Report,
  Settlement,
  SinkOutcome,
} from "../../domain/report.ts";

/** Proof of leadership. Every write that carries it is refused once another epoch was given out. */
export interface LeaseGrant {
  readonly epoch: bigint;
  /** How long the grant holds from the call that gave or renewed it. */
  readonly ttlMs: number;
}

/** One row, on the database's clock: at most one holder (P7). */
export interface Lease {
  /** Takes the lease when it is free or run out, under a new epoch; undefined when somebody holds it. Waits for writes in their commit. */
  acquire(holder: string, ttlMs: number): Promise<LeaseGrant | undefined>;
  /** Prolongs; undefined when the lease was lost or has run out. */
  renew(grant: LeaseGrant): Promise<LeaseGrant | undefined>;
  /** Frees the lease at once, so that another takes over without waiting. No effect when already lost. */
  release(grant: LeaseGrant): Promise<void>;
}

/** A leader's write came after another took the lease; nothing was written. */
export class StaleLeaseError extends Error {
  override readonly name = "StaleLeaseError";
}

/** Which windows a flush takes. */
export interface FlushScope {
  /** Undefined means all. */
  readonly customerId: string | undefined;
  /** Also windows that still grow: what is in them now goes, the rest follows under the next sequence. */
  readonly includeOpen: boolean;
}

/** Where a pass over the windows stands: everything up to this window was looked at. */
export interface PlanCursor {
  readonly windowEndMs: number;
  readonly customerId: string;
  readonly windowStartMs: number;
  readonly eventName: string;
  readonly payload: string;
}

/** One step of a pass. */
export interface PlanStep {
  /** Reports that the step made. */
  readonly planned: number;
  /** Where the next step goes on; undefined at the end of the pass. */
  readonly next: PlanCursor | undefined;
}

/** A report that this leader may send now; marked as being sent, durably. */
export interface ClaimedReport extends Report {
  readonly before: "planned" | "unknown";
  /** Sends, the coming one included. */
  readonly attempts: number;
}

export interface ClaimStep {
  /** To be sent, tightest deadline first. */
  readonly claimed: readonly ClaimedReport[];
  /** Identifiers held by this step, since their outcome stayed unknown past the resend horizon. */
  readonly held: readonly string[];
}

/** A wish for a flush now: from `metering flush`, or because an invoice is about to be finalized. */
export interface FlushRequest {
  readonly requestId: bigint;
  /** Undefined: everybody. */
  readonly customerId: string | undefined;
}

/** What has not come to its end. */
export interface Backlog {
  /** Planned, being sent, or of unknown fate. */
  readonly openReports: number;
  /** Of the open ones, those that were sent through another sink than this: they wait until it is configured again. */
  readonly otherSinkReports: number;
  /** Held until somebody decides. */
  readonly heldReports: number;
  /** Windows that cannot be planned, since no Stripe customer is known for them. */
  readonly unmappedWindows: number;
  /** Since the oldest window ended that is mapped and not yet with Stripe, held ones aside; 0 when there is none. */
  readonly lagMs: number;
}

/**
 * What is due, of one kind. invoice: reports whose draft invoice becomes final; resend: sends of unknown fate, which may be repeated for
 * RESEND_HORIZON_MS; age: all that Stripe takes for 35 days only, held reports and windows not yet frozen included.
 */
export interface Deadline {
  readonly kind: "invoice" | "resend" | "age";
  /** To the tightest; below 0 when it has passed, null where nothing waits. */
  readonly tightestInMs: number | null;
  readonly waiting: number;
  readonly overdue: number;
}

/** The outbox, as seen by one sink. Every write carries the leader's grant and rejects with StaleLeaseError, nothing written, once another epoch was given out. */
export interface Reports {
  /**
   * Freezes up to `limit` windows of the scope, oldest first from `after` on, in one transaction. A pass from undefined to the end sees
   * each window once, so it ends even while usage comes in; all that was in the ledger when it began is frozen when it ends.
   * `decide` gives the reports of these windows at the database's time; what they add up to is what counts as reported.
   */
  plan(
    grant: LeaseGrant,
    scope: FlushScope,
    after: PlanCursor | undefined,
    limit: number,
    decide: (windows: readonly PendingWindow[], nowMs: number) => readonly PlannedReport[],
  ): Promise<PlanStep>;
  /**
   * Replaces up to `limit` reports that were never sent and whose period is closed by now with late ones, or held ones, as the policy
   * says; in one transaction. Returns the replacements.
   */
  replaceClosed(
    grant: LeaseGrant,
    limit: number,
    context: Omit<PlanContext, "nowMs">,
  ): Promise<readonly PlannedReport[]>;
  /**
   * Marks up to `limit` due reports as being sent. Due: planned or unknown past their retry time, or left "sending" by an earlier leader.
   * Those past the resend horizon, on the database's clock, are held instead, with HELD_OUTCOME_UNKNOWN. A report belongs to the sink
   * that it was marked for, unless surely nothing of it was processed; others' are left alone, since two sinks may not share identifiers.
   */
  claim(grant: LeaseGrant, limit: number): Promise<ClaimStep>;
  /** Records how sends ended, all in one transaction. Only what this grant claimed is touched, and once. */
  settle(grant: LeaseGrant, settled: readonly SettledReport[]): Promise<void>;
  backlog(): Promise<Backlog>;
  /** One of each kind. Reads what is open, held or unplanned. */
  deadlines(): Promise<readonly Deadline[]>;
}

export interface SettledReport {
  readonly report: ClaimedReport;
  readonly settlement: Settlement;
}

/** Wishes for a flush, kept until they are done and a day longer. */
export interface FlushRequests {
  request(customerId: string | undefined): Promise<bigint>;
  /** Up to 1,000 that no pass has covered yet, oldest first. */
  unplanned(): Promise<readonly FlushRequest[]>;
  /** A pass that began after these were read covered them to its end. */
  planned(grant: LeaseGrant, requestIds: readonly bigint[]): Promise<void>;
  /** Completes planned requests whose reports were all tried: settled, waiting for a retry, or of another sink. Returns how many. */
  complete(grant: LeaseGrant, sink: SinkName): Promise<number>;
  /** Also true of requests long forgotten. */
  isComplete(requestId: bigint): Promise<boolean>;
}

/** Ways to Stripe: one meter event a request, checked at once; or the stream of many a request, checked by nobody who would tell. */
export type SinkName = "v1" | "stream";

/** Where reports go. */
export interface MeterSink {
  readonly name: SinkName;
  /** Most reports in one request. */
  readonly batchMax: number;
  /** Whether requests of one Stripe customer and event name must follow one another. Those of cancels always do. */
  readonly serial: boolean;
  /**
   * Makes one request of 1 to batchMax reports; a cancel comes alone. Outcomes in order. "split": refused as a whole on account of some of
   * its reports, two or more, and surely not processed: send them in smaller requests. Never rejects: what goes wrong is an outcome. An
   * abort ends the wait at once, as "unknown".
   */
  send(reports: readonly Report[], signal: AbortSignal): Promise<readonly SinkOutcome[] | "split">;
}
