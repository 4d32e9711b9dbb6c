// Reconciliation: the leader's second work, beside the flush. What Stripe counted is compared with what is believed that it counted, and
// differences are made up for.
//
// 1. choose: which hours of which customers' meters are due;
// 2. read:   Stripe's sums of them;
// 3. settle: in one transaction a customer's meter, what agrees is confirmed; a drift is booked and what makes up for it planned, both
//            together; what the stream took and Stripe did not count goes back to be sent; or the drift is left open;
// 4. answer: requests for these hours are done;
// 5. send:   the flush sends what was planned, as any report, and its hour is due again: so a repair is itself compared.
//
// A crash, or the loss of the lease, after
// 1 or 2 leaves everything as it was: the hours are due still.
// 3 leaves what is believed equal to what Stripe counted, and the repair planned: at the next look the sums agree, so nobody repairs twice.
// 4 leaves nothing.
// 5 leaves a report as any other: see flush.ts.
// Sums are read before the reports are looked at, and both only count when all sends of the span were settled long enough before: nothing
// that was under way is taken for missing.
import { decide, freezeRemedy, type ReconcilePolicy } from "../domain/reconcile.ts";
import { HELD_WRITTEN_OFF } from "../domain/report.ts";
import { type ComparedHours, compareHours, HOUR_MS } from "./compare-hours.ts";
import type { Tenure } from "./hold-lease.ts";
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";
import type {
  Comparison,
  MeteredCustomer,
  MeterSummaries,
  ReconcileState,
  Reconciliation,
} from "./ports/reconciliation.ts";
import { StaleLeaseError } from "./ports/reports.ts";
import { TokenBucket } from "./token-bucket.ts";

export interface ReconcileSettings extends Omit<ReconcilePolicy, "apply"> {
  /** Between passes. */
  readonly intervalMs: number;
  /** Between looks whether an operator asked for something. */
  readonly pollMs: number;
  /** Customers' meters chosen at a time. */
  readonly batch: number;
  /** Most that are compared side by side. */
  readonly concurrency: number;
  /** Of Stripe's sums. */
  readonly readsPerSecondMax: number;
}

export const RECONCILE_SETTINGS: ReconcileSettings = {
  intervalMs: 300_000,
  lagMs: 600_000,
  repairLimit: 1_000_000n,
  pollMs: 1_000,
  batch: 100,
  concurrency: 4,
  readsPerSecondMax: 20,
};

/** Told what was found and done, for metrics. Must not throw. */
export interface ReconcileObserver {
  /** Spans, mostly hours, by what came of them: an agreement, a wait, a repair, ... */
  compared(result: ComparedHours["judged"][number]["verdict"]["kind"], spans: number): void;
  /** A repair was planned of what Stripe counted too much, or, negative, too little. */
  repaired(difference: bigint): void;
  /** After each pass. */
  state(state: ReconcileState): void;
}

export interface ReconcileOptions {
  readonly book: Reconciliation;
  readonly summaries: MeterSummaries;
  /** Part of every identifier. */
  readonly deploymentId: string;
  readonly settings: ReconcileSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observer: ReconcileObserver;
}

/** A pass ends early after so many comparisons that failed one after another: Stripe is away. */
const FAILURES_MAX = 5;

/** What became of the comparisons of a pass. */
interface Tally {
  failures: number;
  inARow: number;
  firstFailure: { readonly of: MeteredCustomer; readonly err: unknown } | undefined;
  /** The last that was begun, in the order of all. */
  last: MeteredCustomer | undefined;
  /** Customers' meters that Stripe has no sums of. */
  readonly incomparable: MeteredCustomer[];
}

/** The leader's work; one object may serve one tenure after another. */
export class Reconcile {
  readonly #options: ReconcileOptions;
  readonly #rate: TokenBucket;
  /** Where a pass that was cut short goes on, so that some that always fail do not keep the others from their turn. */
  #after: MeteredCustomer | undefined;

  constructor(options: ReconcileOptions) {
    this.#options = options;
    this.#rate = new TokenBucket(options.settings.readsPerSecondMax, options.clock);
  }

  /**
   * Compares until the tenure ends; with `onlyAsked`, only what an operator asks for. Never rejects: what fails is logged and due again, so
   * that the flush beside it goes on whatever Stripe's sums are like.
   */
  async run(tenure: Tenure, onlyAsked = false): Promise<void> {
    const { settings, clock } = this.#options;
    let passDueMs = onlyAsked ? Number.POSITIVE_INFINITY : clock.monotonicMs();
    while (tenure.mayBegin()) {
      const whole = clock.monotonicMs() >= passDueMs;
      if (whole) passDueMs = clock.monotonicMs() + settings.intervalMs;
      await this.#tryPass(tenure, !whole);
      await clock.sleep(settings.pollMs, tenure.stopping);
    }
  }

  async #tryPass(tenure: Tenure, onlyAsked: boolean): Promise<void> {
    const { logger } = this.#options;
    try {
      await this.pass(tenure, onlyAsked);
    } catch (err) {
      if (err instanceof StaleLeaseError) logger.warn({ err }, "another leader was appointed");
      else if (tenure.mayBegin()) logger.error({ err }, "a reconciliation pass failed; the next begins anew");
    }
  }

  /** One pass over what is due. Rejects when Postgres fails or the lease was lost. */
  async pass(tenure: Tenure, onlyAsked = false): Promise<void> {
    const { book, settings, observer } = this.#options;
    const tally: Tally = { failures: 0, inARow: 0, firstFailure: undefined, last: undefined, incomparable: [] };
    if (!onlyAsked) await book.cutRequests(tenure.grant);
    let after = onlyAsked ? undefined : this.#after;
    do {
      if (!tenure.mayBegin()) return;
      const step = await book.due(settings.lagMs, onlyAsked, after, settings.batch); // 1
      await this.#compareAll(tenure, step.comparisons, step.readAtMs, tally);
      after = step.next;
    } while (after !== undefined && tally.inARow < FAILURES_MAX);
    this.#tellTally(tally);
    if (onlyAsked) return;
    // Cut short in a step, it goes on in the very step: the rest of that would else be left out every time.
    this.#after = tally.inARow < FAILURES_MAX ? undefined : tally.last;
    observer.state(await book.state());
  }

  async #compareAll(tenure: Tenure, all: readonly Comparison[], readAtMs: number, tally: Tally): Promise<void> {
    const waiting = [...all].values();
    const worker = async () => {
      for (let next = waiting.next(); !next.done; next = waiting.next()) {
        if (!tenure.mayBegin() || tally.inARow >= FAILURES_MAX) return;
        tally.last = next.value;
        try {
          if (!(await this.#compare(tenure, next.value, readAtMs))) tally.incomparable.push(next.value);
          tally.inARow = 0;
          this.#rate.speedUp();
        } catch (err) {
          // A write that was refused, or a stop: not Stripe's fault.
          if (err instanceof StaleLeaseError || !tenure.mayBegin()) throw err;
          tally.failures += 1;
          tally.inARow += 1;
          tally.firstFailure ??= { of: next.value, err };
          this.#rate.slowDown();
        }
      }
    };
    await Promise.all(Array.from({ length: this.#options.settings.concurrency }, worker));
  }

  /** Steps 2 to 4 for one customer's meter; false where Stripe has nothing to compare with. */
  async #compare(tenure: Tenure, comparison: Comparison, readAtMs: number): Promise<boolean> {
    const { book, summaries, deploymentId, settings } = this.#options;
    const found = await compareHours(comparison, readAtMs, {
      summaries,
      turn: (signal) => this.#rate.take(signal),
      signal: AbortSignal.any([tenure.signal, tenure.stopping]),
      judge: (readings, apply) =>
        book.settle(
          tenure.grant,
          comparison,
          readAtMs,
          readings,
          (view) => decide(view, { ...settings, apply }),
          (of, remedy, nextSequence) => freezeRemedy(deploymentId, of, remedy, nextSequence),
        ), // 3
    });
    if (found !== undefined) this.#tell(comparison, found);
    const asked = comparison.hours.filter(({ requested }) => requested).map(({ startMs }) => startMs);
    if (asked.length === 0) return found !== undefined;
    const waiting =
      found === undefined ? asked : asked.filter((ms) => found.waiting.includes(ms) || ms + HOUR_MS > readAtMs);
    const done = asked.filter((ms) => !waiting.includes(ms));
    await book.answered(tenure.grant, comparison, readAtMs, done, waiting); // 4
    return found !== undefined;
  }

  #tellTally({ failures, firstFailure, incomparable }: Tally): void {
    const { logger } = this.#options;
    if (firstFailure !== undefined) {
      const { of, err } = firstFailure;
      logger.warn({ err, ...identityOf(of), failures }, "could not compare with Stripe's sums; will try again");
    }
    const [first] = incomparable;
    if (first === undefined) return;
    const fields = { ...identityOf(first), count: incomparable.length };
    logger.warn(
      fields,
      "Stripe has no meter of this event name that adds up all events, or no such customer: nothing to compare with",
    );
  }

  #tell(of: MeteredCustomer, { judged }: ComparedHours): void {
    const { observer, logger } = this.#options;
    for (const [kind, spans] of Map.groupBy(judged, ({ verdict }) => verdict.kind))
      observer.compared(kind, spans.length);
    for (const { verdict, startMs, endMs } of judged) {
      if (verdict.kind === "agree" || verdict.kind === "wait" || verdict.kind === "narrow") continue;
      const { expected, counted, explanation } = verdict.drift;
      const span = { from: new Date(startMs).toISOString(), to: new Date(endMs).toISOString() };
      const fields = { ...identityOf(of), ...span, expected: `${expected}`, counted: `${counted}`, explanation };
      if (verdict.kind === "repair" && verdict.remedy.heldFor !== HELD_WRITTEN_OFF)
        observer.repaired(verdict.remedy.difference);
      if (verdict.kind === "repair")
        logger.warn(
          fields,
          verdict.remedy.heldFor === HELD_WRITTEN_OFF
            ? "Stripe's sum differs: booked, and written off"
            : "Stripe's sum differs: booked, and a repair planned",
        );
      else if (verdict.kind === "resend")
        logger.warn(fields, "Stripe did not count what its stream took: sending it again");
      else if (verdict.kind === "invoiced") logger.warn(fields, "Stripe's sum differs; left to the final invoices");
      else logger.warn({ ...fields, hindrance: verdict.hindrance }, "Stripe's sum differs; left open");
    }
  }
}

function identityOf({ stripeCustomerId, eventName }: MeteredCustomer): MeteredCustomer {
  return { stripeCustomerId, eventName };
}
