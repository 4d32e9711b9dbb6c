// The tables of reconciliation, as plainly as they can be said. Each method is one transaction at one instant.
import type {
  Comparison,
  ComparisonStep,
  Decide,
  Freeze,
  HourToCompare,
  MeteredCustomer,
  Reading,
  ReconcileState,
} from "../../../src/app/ports/reconciliation.ts";
import type { LeaseGrant } from "../../../src/app/ports/reports.ts";
import type { DriftExplanation, ValidationError } from "../../../src/domain/explain-drift.ts";
import type { Apply, SpanView, Verdict } from "../../../src/domain/reconcile.ts";
import { compareText } from "../../../src/domain/usage-record.ts";
import { DAY_MS, MINUTE_MS } from "../../../src/domain/window.ts";
import type { Billing } from "./billing.ts";
import type { ModelLease } from "./lease.ts";
import type { ModelLedger } from "./ledger.ts";
import type { ModelOutbox } from "./outbox.ts";
import { type ReportRow, reportOf } from "./report-row.ts";

const HOUR_MS = 60 * MINUTE_MS;

export interface DriftRow extends MeteredCustomer {
  readonly startMs: number;
  readonly endMs: number;
  expected: bigint;
  counted: bigint;
  explanation: DriftExplanation;
  hindrance: string;
  state: "open" | "repaired" | "gone" | "invoiced";
  foundMs: number;
  lookedMs: number;
  lookAtMs: number;
}

export interface ReconciliationOptions {
  readonly nowMs: () => number;
  readonly lagMs: number;
  readonly ledger: ModelLedger;
  readonly outbox: ModelOutbox;
  readonly billing: Billing;
  readonly lease: ModelLease;
}

export class ModelReconciliation {
  readonly drifts: DriftRow[] = [];
  readonly errors: (ValidationError & { readonly eventName: string })[] = [];
  readonly #options: ReconciliationOptions;

  constructor(options: ReconciliationOptions) {
    this.#options = options;
  }

  due(lagMs: number, after: MeteredCustomer | undefined, limit: number): ComparisonStep {
    const { outbox, nowMs } = this.#options;
    const meters = new Map<string, MeteredCustomer>();
    const add = ({ stripeCustomerId, eventName }: MeteredCustomer) =>
      meters.set(`${stripeCustomerId} ${eventName}`, { stripeCustomerId, eventName });
    for (const report of outbox.reports.values()) if (isUncompared(report)) add(report);
    for (const request of outbox.requestedHours.values()) add(request);
    for (const drift of this.#open()) add(drift);
    const chosen = [...meters.values()]
      .filter((of) => after === undefined || compareMeters(of, after) > 0)
      .sort(compareMeters)
      .slice(0, limit);
    const comparisons = chosen.flatMap((of): Comparison[] => {
      const hours = this.#hoursOf(of, lagMs);
      return hours.length === 0 ? [] : [{ ...of, hours }];
    });
    return { comparisons, readAtMs: nowMs(), next: chosen.length < limit ? undefined : chosen.at(-1) };
  }

  #open(): DriftRow[] {
    return this.drifts.filter(({ state }) => state === "open");
  }

  #hoursOf(of: MeteredCustomer, lagMs: number): HourToCompare[] {
    const { outbox, nowMs } = this.#options;
    const now = nowMs();
    const reports = this.#reportsOf(of);
    const hours = new Map<number, boolean>();
    const wanted = new Map<number, Apply>();
    const add = (startMs: number, requested: boolean) => hours.set(startMs, requested || hours.get(startMs) === true);
    for (const report of reports)
      if (isUncompared(report) && this.#isOver(report, now)) add(hourOf(report.timestampMs), false);
    for (const request of outbox.requestedHours.values())
      if (compareMeters(request, of) === 0) {
        add(request.startMs, true);
        if (request.apply !== undefined) wanted.set(request.startMs, request.apply);
      }
    const open = this.#open().filter((drift) => compareMeters(drift, of) === 0);
    for (const { startMs, lookAtMs } of open) if (lookAtMs <= now) add(hourOf(startMs), false);
    return [...hours]
      .sort(([a], [b]) => a - b)
      .filter(([startMs, requested]) => {
        if (wanted.has(startMs)) return true;
        const inHour = reports.filter(({ timestampMs }) => hourOf(timestampMs) === startMs);
        if (inHour.some(({ state }) => state === "sending" || state === "unknown")) return false;
        if (
          inHour.some((r) => r.firstAttemptMs !== undefined && r.settledMs !== undefined && r.settledMs > now - lagMs)
        )
          return false;
        const waits = open.some(
          (drift) =>
            hourOf(drift.startMs) === startMs &&
            drift.lookAtMs > now &&
            !inHour.some((r) => isUncompared(r) && r.settledMs !== undefined && r.settledMs > drift.lookedMs),
        );
        const isDue = open.some((drift) => hourOf(drift.startMs) === startMs && drift.lookAtMs <= now);
        return requested || isDue || !waits;
      })
      .map(([startMs, requested]) => ({
        startMs,
        requested,
        apply: wanted.get(startMs),
        boundariesMs: this.boundariesIn(of, startMs, startMs + HOUR_MS),
      }));
  }

  /** An hour is over when it is, or for a report before the end of a period in it when that is. */
  #isOver({ customerId, timestampMs }: ReportRow, now: number): boolean {
    const endMs = hourOf(timestampMs) + HOUR_MS;
    if (endMs <= now) return true;
    const boundaries = this.#options.ledger.boundaries.get(customerId) ?? [];
    return boundaries.some(
      (ms) => ms > timestampMs && ms < endMs && Math.floor(ms / MINUTE_MS) * MINUTE_MS + MINUTE_MS <= now,
    );
  }

  /** Of whoever reported there, whomever the Stripe customer is mapped to now. */
  boundariesIn(of: MeteredCustomer, startMs: number, endMs: number): readonly number[] {
    const { ledger, billing } = this.#options;
    const there = this.#reportsOf(of).filter(({ timestampMs }) => startMs <= timestampMs && timestampMs < endMs);
    const customers = new Set([billing.customerOf(of.stripeCustomerId), ...there.map(({ customerId }) => customerId)]);
    const boundaries = [...customers].flatMap((customerId) => ledger.boundaries.get(customerId) ?? []);
    return [...new Set(boundaries)].filter((ms) => ms > startMs && ms < endMs).sort((a, b) => a - b);
  }

  /** In the order that the statements give them: what is decided may depend on it. */
  #reportsOf(of: MeteredCustomer): ReportRow[] {
    return [...this.#options.outbox.reports.values()]
      .filter((report) => compareMeters(report, of) === 0)
      .sort((a, b) => a.timestampMs - b.timestampMs || (a.identifier < b.identifier ? -1 : 1));
  }

  settle(
    grant: LeaseGrant,
    of: MeteredCustomer,
    readAtMs: number,
    readings: readonly Reading[],
    decide: Decide,
    freeze: Freeze,
  ): readonly Verdict[] {
    if (readings.length === 0) return [];
    this.#options.lease.fence(grant);
    const judged = readings.map((reading) => {
      const view = this.#view(of, readAtMs, reading);
      return { view, verdict: decide(view) };
    });
    for (const { verdict } of judged) this.#confirm(verdict, grant.epoch);
    for (const one of judged) this.#book(of, one.verdict, freeze, grant.epoch);
    for (const { view, verdict } of judged) this.#keepDrift(of, view, verdict);
    return judged.map(({ verdict }) => verdict);
  }

  #view(of: MeteredCustomer, readAtMs: number, { startMs, endMs, counted }: Reading): SpanView {
    const { billing, nowMs } = this.#options;
    const reports = this.#reportsOf(of).filter(({ timestampMs }) => startMs <= timestampMs && timestampMs < endMs);
    const periods = billing.periods.filter(
      (period) => compareMeters(period, of) === 0 && period.startMs < endMs && period.endMs > startMs,
    );
    const open = this.#open().find(
      (drift) => compareMeters(drift, of) === 0 && drift.startMs === startMs && drift.endMs === endMs,
    );
    return {
      ...of,
      startMs,
      endMs,
      counted,
      readAtMs,
      nowMs: nowMs(),
      customerId: billing.customerOf(of.stripeCustomerId),
      reports: reports.map((row) => {
        const { state, reason, firstAttemptMs, settledMs } = row;
        return { ...reportOf(row), state, reason, firstAttemptMs, settledMs };
      }),
      boundariesMs: this.boundariesIn(of, startMs, endMs),
      drafts: periods.flatMap(({ finalizesMs, ...period }) =>
        finalizesMs === undefined ? [] : [{ ...period, finalizesAtMs: finalizesMs }],
      ),
      finals: periods
        .filter(({ billed }) => billed !== undefined)
        .map(({ startMs, endMs }) => ({ startMs, endMs, comparable: true })),
      errors: this.errors.filter(({ eventName }) => eventName === of.eventName),
      open: open && { expected: open.expected, counted: open.counted, foundAtMs: open.foundMs },
    };
  }

  #confirm(verdict: Verdict, epoch: bigint): void {
    const { outbox, nowMs } = this.#options;
    if (verdict.kind === "resend") {
      for (const report of this.#rows(verdict.resend)) {
        if (report.state !== "sent") continue;
        report.state = "unknown";
        report.reason = "not_counted";
        report.nextAttemptMs = nowMs();
        report.settledMs = undefined;
        report.leaseEpoch = epoch;
      }
    }
    if (!("reconciled" in verdict)) return;
    for (const report of this.#rows(verdict.reconciled)) {
      const accepts = verdict.accept.includes(report.identifier);
      if (report.state !== "accepted" && !(accepts && (report.state === "sent" || report.state === "held"))) continue;
      if (accepts) outbox.accept(report);
      report.reconciledMs = nowMs();
      report.reason = "";
      report.leaseEpoch = epoch;
    }
  }

  #rows(identifiers: readonly string[]): ReportRow[] {
    return identifiers.flatMap((identifier) => this.#options.outbox.reports.get(identifier) ?? []);
  }

  #book({ stripeCustomerId, eventName }: MeteredCustomer, verdict: Verdict, freeze: Freeze, epoch: bigint): void {
    if (verdict.kind !== "repair") return;
    const { remedy } = verdict;
    const { ledger, outbox } = this.#options;
    const window = ledger.windowAt({ ...remedy, eventName }, remedy.windowStartMs + MINUTE_MS);
    const { booking, repair } = freeze({ stripeCustomerId, eventName }, remedy, window.nextSequence);
    outbox.insert(epoch, [booking, repair]);
  }

  #keepDrift(of: MeteredCustomer, { startMs, endMs }: SpanView, verdict: Verdict): void {
    if (verdict.kind === "wait" || verdict.kind === "narrow") return;
    const now = this.#options.nowMs();
    const isHere = (drift: DriftRow) =>
      compareMeters(drift, of) === 0 && drift.startMs < endMs && drift.endMs > startMs;
    const stays = (drift: DriftRow) => verdict.kind !== "agree" && drift.startMs === startMs && drift.endMs === endMs;
    for (const drift of this.#open()) if (isHere(drift) && !stays(drift)) drift.state = "gone";
    if (verdict.kind === "agree") return;
    const { lagMs } = this.#options;
    const { expected, counted, explanation } = verdict.drift;
    let drift = this.#open().find((one) => isHere(one) && stays(one));
    if (drift === undefined) {
      const { stripeCustomerId, eventName } = of;
      drift = {
        stripeCustomerId,
        eventName,
        startMs,
        endMs,
        ...verdict.drift,
        hindrance: "",
        state: "open",
        foundMs: now,
        lookedMs: now,
        lookAtMs: now + lagMs,
      };
      this.drifts.push(drift);
    } else {
      const same = drift.expected === expected && drift.counted === counted;
      if (!same) drift.foundMs = now;
      drift.lookAtMs = now + (same ? Math.min(Math.max(now - drift.foundMs, lagMs), DAY_MS) : lagMs);
      drift.lookedMs = now;
      Object.assign(drift, { expected, counted, explanation });
    }
    drift.hindrance = verdict.kind === "open" ? verdict.hindrance : "";
    if (verdict.kind === "repair") drift.state = "repaired";
    if (verdict.kind === "invoiced") drift.state = "invoiced";
  }

  answered(
    grant: LeaseGrant,
    { stripeCustomerId, eventName }: MeteredCustomer,
    readAtMs: number,
    done: readonly number[],
    waiting: readonly number[],
  ): void {
    const { lease, outbox } = this.#options;
    lease.fence(grant);
    for (const startMs of [...done, ...waiting]) {
      const key = `${stripeCustomerId} ${eventName} ${startMs}`;
      const request = outbox.requestedHours.get(key);
      if (request === undefined || request.requestedMs > readAtMs) continue;
      if (done.includes(startMs)) outbox.requestedHours.delete(key);
      else request.apply = undefined;
    }
  }

  /** An operator wants something done about drift in an hour. */
  ask({ stripeCustomerId, eventName }: MeteredCustomer, timeMs: number, apply: Apply): void {
    const { outbox, nowMs } = this.#options;
    const [startMs, requestedMs] = [hourOf(timeMs), nowMs()];
    const key = `${stripeCustomerId} ${eventName} ${startMs}`;
    outbox.requestedHours.set(key, { stripeCustomerId, eventName, startMs, requestedMs, apply });
  }

  state(): ReconcileState {
    const openDrifts = { never_sent: 0, unknown: 0, refused: 0, counted_twice: 0, foreign: 0 };
    for (const { explanation } of this.#open()) openDrifts[explanation] += 1;
    return { openDrifts, oldestUnreconciledMs: 0 };
  }
}

/** Taken by Stripe, and not yet found in its sums. */
export function isUncompared({ state, kind, reconciledMs }: ReportRow): boolean {
  return (state === "sent" || state === "accepted") && kind !== "unbilled" && reconciledMs === undefined;
}

function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS) * HOUR_MS;
}

function compareMeters(a: MeteredCustomer, b: MeteredCustomer): number {
  return compareText(a.stripeCustomerId, b.stripeCustomerId) || compareText(a.eventName, b.eventName);
}
