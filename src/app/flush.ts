// The flush: the leader's work. It brings what windows hold to the sink, each quantity once.
//
// 1. freeze: windows become reports, in one transaction: identifier, value and timestamp are fixed from here on;
// 2. mark:   reports that are about to be sent are marked so, with the time of the first attempt;
// 3. send:   each goes to the sink under its identifier, which is also the idempotency key;
// 4. settle: what the sink said is recorded.
//
// A crash, or the loss of the lease, after
// 1 leaves planned reports: the next leader sends them. The windows count them as reported, so nobody plans them again.
// 2 leaves reports "sending" that were perhaps not sent: the next leader takes them for unknown and sends them again.
// 3 leaves reports "sending" that the sink has: the next leader sends them again, under the same identifier, and hears "duplicate"; from
//   the stream it hears nothing, and Stripe drops them.
// 4 leaves nothing of its batch. The next one may be at 2 or 3 by then.
// Unknown reports are sent again only while the sink surely knows the identifier (RESEND_HORIZON_MS); after that they are held.
import type { LateUsagePolicy } from "../domain/late-usage.ts";
import { HELD_OUTCOME_UNKNOWN, planReports } from "../domain/report.ts";
import type { Tenure } from "./hold-lease.ts";
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";
import {
  type Backlog,
  type ClaimedReport,
  type Deadline,
  type FlushRequests,
  type FlushScope,
  type MeterSink,
  type PlanCursor,
  type Reports,
  StaleLeaseError,
} from "./ports/reports.ts";
import type { SpanAttributes, Tracing } from "./ports/tracing.ts";
import { type RoundCounts, type RoundLimits, type RoundResult, sendRound } from "./send-round.ts";
import { TokenBucket } from "./token-bucket.ts";
import { tracedSink } from "./traced-sink.ts";

/** About how long a round takes at a slow rate. A fast one ends sooner, at FlushSettings.sendBatch. */
const ROUND_SECONDS = 2;

/** Rates and bounds of the flush. */
export interface FlushSettings {
  /** Between passes over closed windows. */
  readonly intervalMs: number;
  /** Between looks for requests and due reports, while there is nothing to send. */
  readonly pollMs: number;
  /** Most windows frozen in one transaction. */
  readonly planBatch: number;
  /** Most reports marked, sent and settled together: twice that a crash makes the next leader send again. Fewer where the rate is low. */
  readonly sendBatch: number;
  readonly requestsPerSecondMax: number;
  readonly round: RoundLimits;
}

export const FLUSH_SETTINGS: FlushSettings = {
  intervalMs: 60_000,
  pollMs: 1_000,
  planBatch: 500,
  sendBatch: 1_000,
  requestsPerSecondMax: 1_000,
  round: { concurrency: 16, limitMs: 30_000 },
};

/** Told what the flush does, for metrics. Must not throw. */
export interface FlushObserver {
  planned(reports: number): void;
  sent(counts: RoundCounts): void;
  /** Reports held, by reason: refused by the sink, or of unknown outcome past the horizon. */
  held(reason: string, reports: number): void;
  /** After each pass over closed windows. */
  backlog(backlog: Backlog, deadlines: readonly Deadline[]): void;
}

export interface FlushOptions {
  readonly reports: Reports;
  readonly requests: FlushRequests;
  readonly sink: MeterSink;
  /** Part of every identifier. */
  readonly deploymentId: string;
  readonly lateUsage: LateUsagePolicy;
  readonly settings: FlushSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observer: FlushObserver;
  readonly tracing?: Tracing | undefined;
}

/** The leader's work; one object may serve one tenure after another. */
export class Flush {
  readonly #options: FlushOptions;
  readonly #rate: TokenBucket;
  /** Step 4 of the last round, where it may go on beside steps 2 and 3 of the next. */
  #settling: Promise<void> = Promise.resolve();

  constructor(options: FlushOptions) {
    this.#options = options;
    this.#rate = new TokenBucket(options.settings.requestsPerSecondMax, options.clock);
  }

  /** Plans and sends until the tenure ends. Rejects when Postgres fails; the next tenure goes on from what is stored. */
  async run(tenure: Tenure): Promise<void> {
    try {
      await this.#run(tenure);
    } catch (cause) {
      // The lease was lost, and the fence did its work: no fault.
      if (!(cause instanceof StaleLeaseError)) throw cause;
      this.#options.logger.warn({ err: cause }, "another leader was appointed");
    }
  }

  async #run(tenure: Tenure): Promise<void> {
    this.#settling = Promise.resolve();
    try {
      await this.#lead(tenure);
    } finally {
      await this.#settling;
    }
  }

  async #lead(tenure: Tenure): Promise<void> {
    const { requests, settings, clock, sink } = this.#options;
    let passDueMs = clock.monotonicMs();
    while (tenure.mayBegin()) {
      await this.#planRequested(tenure);
      if (clock.monotonicMs() >= passDueMs) {
        await this.#settling;
        passDueMs = clock.monotonicMs() + settings.intervalMs;
        await this.#replaceClosed(tenure);
        await this.#pass(tenure, { customerId: undefined, includeOpen: false });
        await this.#look();
      }
      const goOn = await this.#round(tenure);
      if (!goOn) await this.#settling;
      await requests.complete(tenure.grant, sink.name);
      if (!goOn) await clock.sleep(settings.pollMs, tenure.stopping);
    }
  }

  /** What was frozen for a period that is closed by now, and never sent, goes another way. */
  async #replaceClosed(tenure: Tenure): Promise<void> {
    const { reports, deploymentId, lateUsage, settings, logger } = this.#options;
    let replaced = 0;
    for (let step = settings.planBatch; step === settings.planBatch && tenure.mayBegin(); replaced += step) {
      step = (await reports.replaceClosed(tenure.grant, settings.planBatch, { deploymentId, lateUsage })).length;
    }
    if (replaced > 0)
      logger.warn({ reports: replaced }, "replaced reports whose billing period closed before they were sent");
  }

  async #look(): Promise<void> {
    const { reports, sink, observer, logger } = this.#options;
    const backlog = await reports.backlog();
    observer.backlog(backlog, await reports.deadlines());
    if (backlog.otherSinkReports > 0)
      logger.warn(
        { reports: backlog.otherSinkReports, sink: sink.name },
        "some reports were sent another way and wait until STRIPE_SINK is again what it was; after 23 h they are held",
      );
  }

  /** Covers open requests: one pass for all when any is for all, else one a customer. */
  async #planRequested(tenure: Tenure): Promise<void> {
    const { requests } = this.#options;
    const open = await requests.unplanned();
    if (open.length === 0) return;
    const customers = new Set(open.map((request) => request.customerId));
    const scopes = customers.has(undefined) ? [undefined] : customers;
    for (const customerId of scopes) {
      if (!(await this.#pass(tenure, { customerId, includeOpen: true }))) return;
    }
    const ids = open.map((request) => request.requestId);
    await requests.planned(tenure.grant, ids);
  }

  /** 1. Freezes the scope, batch by batch; false when the tenure ended before the end. */
  async #pass(tenure: Tenure, scope: FlushScope): Promise<boolean> {
    const { reports, deploymentId, lateUsage, settings, logger, observer } = this.#options;
    let after: PlanCursor | undefined;
    let planned = 0;
    do {
      if (!tenure.mayBegin()) return false;
      const step = await reports.plan(tenure.grant, scope, after, settings.planBatch, (windows, nowMs) =>
        planReports(windows, { deploymentId, lateUsage, nowMs }),
      );
      planned += step.planned;
      after = step.next;
    } while (after !== undefined);
    if (planned > 0) logger.info({ reports: planned, customerId: scope.customerId }, "froze reports");
    observer.planned(planned);
    return true;
  }

  /**
   * Steps 2 to 4 for one batch; whether to go on at once with the next. A batch that went well is settled while the next is claimed and
   * sent; any other before, since what it says of retries and lanes is for the next to heed.
   */
  async #round(tenure: Tenure): Promise<boolean> {
    const { reports, sink, settings, clock, observer, logger, tracing } = this.#options;
    if (!tenure.mayBegin()) return false;
    const { claimed, held } = await reports.claim(tenure.grant, this.#claimMax()); // 2
    if (held.length > 0) {
      observer.held(HELD_OUTCOME_UNKNOWN, held.length);
      logger.error({ reports: held.length, first: held[0] }, "held reports whose outcome stayed unknown for 23 h");
    }
    if (claimed.length === 0) return held.length > 0;
    const turn = (signal: AbortSignal) => this.#rate.take(signal);
    // A trace of its own: what is reported is a sum over many calls, and no longer knows them.
    const span = tracing?.start({ name: "flush round", kind: "internal", attributes: spanAttributes(claimed) });
    const parent = span?.traceparent;
    const through = tracing === undefined || parent === undefined ? sink : tracedSink(sink, tracing, parent);
    const result = await sendRound(claimed, through, tenure, turn, settings.round, clock); // 3
    span?.end();
    await this.#settling;
    this.#settling = reports.settle(tenure.grant, result.settled); // 4
    // It is waited for below, or before anything else is settled.
    this.#settling.catch(() => {});
    const { counts } = result;
    if (counts.throttled + counts.unknown + counts.not_sent > 0) await this.#settling;
    this.#tell(result);
    const ended = counts.accepted + counts.taken + counts.duplicate + counts.refused;
    const calm = counts.throttled === 0 && counts.unknown <= ended;
    if (calm) this.#rate.speedUp();
    else this.#rate.slowDown();
    return calm;
  }

  /** What a slow rate can send soon: after each round the rate may rise, and what is claimed and not sent must be given back. */
  #claimMax(): number {
    const { settings, sink } = this.#options;
    const requests = Math.ceil(this.#rate.ratePerSecond * ROUND_SECONDS);
    return Math.min(settings.sendBatch, requests * sink.batchMax);
  }

  #tell({ counts, settled }: RoundResult): void {
    const { observer, logger } = this.#options;
    observer.sent(counts);
    logger.debug(counts, "sent reports");
    if (counts.duplicate > 0) logger.info({ reports: counts.duplicate }, "the sink had reports already");
    const troubled = settled.find(
      ({ settlement }) => settlement.reason === "throttled" || settlement.reason === "unknown",
    );
    if (troubled !== undefined) {
      const { settlement, report } = troubled;
      const fields = { ...counts, requestsPerSecond: this.#rate.ratePerSecond, identifier: report.identifier };
      logger.warn(
        { ...fields, reason: settlement.reason, message: settlement.message },
        "some reports are to be sent again",
      );
    }
    const held = settled.filter(({ settlement }) => settlement.state === "held");
    for (const [reason, reports] of Map.groupBy(held, ({ settlement }) => settlement.reason)) {
      observer.held(reason, reports.length);
      const fields = { reason, reports: reports.length, identifier: reports[0]?.report.identifier };
      logger.error({ ...fields, message: reports[0]?.settlement.message }, "the sink refused reports; they are held");
    }
  }
}

function spanAttributes(claimed: readonly ClaimedReport[]): SpanAttributes {
  return { "metering.reports": claimed.length, "metering.report.first": claimed[0]?.identifier ?? "" };
}
