// The outbox's tables, as plainly as they can be said: reports, hours to compare, and what decides when a report is billed. Each method
// is one transaction at one instant. It says the same as the statements beside src/postgres.
import type {
  ClaimStep,
  FlushScope,
  LeaseGrant,
  PlanCursor,
  PlanStep,
  SettledReport,
  SinkName,
} from "../../../src/app/ports/reports.ts";
import { FINALIZATION_MARGIN_MS } from "../../../src/domain/late-usage.ts";
import type { Apply } from "../../../src/domain/reconcile.ts";
import {
  HELD_OUTCOME_UNKNOWN,
  HELD_WRITTEN_OFF,
  maySend,
  type PendingWindow,
  type PlanContext,
  type PlannedReport,
} from "../../../src/domain/report.ts";
import { mayRetry, type ReplaceableReport, retryOf } from "../../../src/domain/report-retry.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { compareText } from "../../../src/domain/usage-record.ts";
import { DAY_MS, type Interval, MINUTE_MS } from "../../../src/domain/window.ts";
import type { Billing } from "./billing.ts";
import type { ModelLease } from "./lease.ts";
import { type ModelLedger, type WindowKey, type WindowRow, windowName } from "./ledger.ts";
import { isOpen, mayCount, type ReportRow, reportOf } from "./report-row.ts";

const HOUR_MS = 60 * MINUTE_MS;

export interface RequestedHour {
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly startMs: number;
  requestedMs: number;
  /** What an operator wants. */
  apply: Apply | undefined;
}

/** Told what is frozen. */
export interface OutboxWatcher {
  /** `held`: what is held of the window by now, and surely not counted. */
  frozen(report: PlannedReport, window: WindowRow, periodClosed: boolean, held: bigint): void;
}

export interface OutboxOptions {
  readonly nowMs: () => number;
  readonly intake: "redis" | "postgres";
  readonly ledger: ModelLedger;
  readonly lease: ModelLease;
  readonly billing: Billing;
  readonly watcher: OutboxWatcher;
}

export class ModelOutbox {
  readonly reports = new Map<string, ReportRow>();
  readonly requestedHours = new Map<string, RequestedHour>();
  readonly #options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  plan(
    grant: LeaseGrant,
    scope: FlushScope,
    after: PlanCursor | undefined,
    limit: number,
    decide: (windows: readonly PendingWindow[], nowMs: number) => readonly PlannedReport[],
  ): PlanStep {
    const { lease, ledger, nowMs } = this.#options;
    lease.fence(grant);
    const chosen = [...ledger.windows.values()]
      .filter(
        (window) => this.#isPlannable(window, scope) && (after === undefined || compareCursors(window, after) > 0),
      )
      .sort(compareCursors)
      .slice(0, limit);
    const reports = decide(
      chosen.map((window) => this.#toPending(window)),
      nowMs(),
    );
    this.insert(grant.epoch, reports);
    const last = chosen.at(-1);
    return { planned: reports.length, next: last === undefined || chosen.length < limit ? undefined : cursorOf(last) };
  }

  #isPlannable(window: WindowRow, { customerId, includeOpen }: FlushScope): boolean {
    const { ledger, nowMs, intake, billing } = this.#options;
    if (window.total === window.reported || billing.stripeCustomerOf(window.customerId) === undefined) return false;
    if (customerId !== undefined && window.customerId !== customerId) return false;
    const watermarkMs = ledger.shardRows[shardOf(window.customerId, ledger.shardRows.length)]?.watermarkMs;
    const untilMs = intake === "redis" ? Math.min(nowMs(), watermarkMs ?? Number.NEGATIVE_INFINITY) : nowMs();
    return window.windowEndMs <= untilMs || (includeOpen && window.windowStartMs <= nowMs());
  }

  #toPending(window: WindowRow): PendingWindow {
    const { billing } = this.#options;
    const stripeCustomerId = billing.stripeCustomerOf(window.customerId) ?? "";
    return {
      ...window,
      stripeCustomerId,
      ...this.#billingTime(stripeCustomerId, window.eventName, window.windowStartMs),
      held: this.#heldOf(window),
      elsewhere: this.#elsewhereOf(window, stripeCustomerId),
    };
  }

  #elsewhereOf(window: WindowRow, stripeCustomerId: string): PendingWindow["elsewhere"] {
    if (window.total >= window.reported) return [];
    const counting = [...this.reports.values()].filter(
      (r) => windowName(r) === windowName(window) && r.stripeCustomerId !== stripeCustomerId && mayCount(r),
    );
    return [...Map.groupBy(counting, (r) => r.stripeCustomerId)]
      .map(([other, its]) => ({ other, quantity: sumOf(its), last: Math.max(...its.map((r) => r.sequence)) }))
      .filter(({ quantity }) => quantity > 0n)
      .sort((a, b) => b.last - a.last)
      .map(({ other, quantity }) => {
        const time = this.#billingTime(other, window.eventName, window.windowStartMs);
        return { stripeCustomerId: other, quantity, ...time };
      });
  }

  #heldReports(window: WindowKey): readonly ReportRow[] {
    return [...this.reports.values()]
      .filter((report) => report.state === "held" && report.reason !== HELD_OUTCOME_UNKNOWN && report.kind !== "cancel")
      .filter(({ customerId, eventName, payload, windowStartMs }) => {
        const isOf = customerId === window.customerId && eventName === window.eventName;
        return isOf && payload === window.payload && windowStartMs === window.windowStartMs;
      });
  }

  #heldOf(window: WindowRow): PendingWindow["held"] {
    const held = this.#heldReports(window).toSorted((a, b) => {
      const last = (report: ReportRow) => Number(report.reason === HELD_WRITTEN_OFF);
      if (last(a) !== last(b)) return last(a) - last(b);
      return a.value === b.value ? a.sequence - b.sequence : a.value > b.value ? -1 : 1;
    });
    const [first] = held;
    if (first === undefined || window.total >= window.reported) return undefined;
    return { quantity: sumOf(held), reason: first.reason };
  }

  #billingTime(stripeCustomerId: string, eventName: string, timeMs: number) {
    const { billing, nowMs } = this.#options;
    const periods = billing.periodsAt(stripeCustomerId, eventName, timeMs);
    const isClosed = ({ billed, finalizesMs }: (typeof periods)[number]) =>
      billed !== undefined || (finalizesMs !== undefined && finalizesMs <= nowMs() + FINALIZATION_MARGIN_MS);
    const drafts = periods.flatMap(({ billed, finalizesMs }) =>
      billed === undefined && finalizesMs !== undefined ? [finalizesMs] : [],
    );
    return {
      periodClosed: periods.length > 0 && periods.every(isClosed),
      periodOpen: true,
      finalizesAtMs: drafts.length === 0 ? undefined : Math.min(...drafts),
    };
  }

  /** Freezes reports; refuses them all where one breaks a constraint. */
  insert(epoch: bigint, reports: readonly PlannedReport[]): void {
    const { nowMs, ledger, watcher } = this.#options;
    this.#checkConstraints(reports);
    for (const report of reports) {
      const window = ledger.windows.get(windowName(report));
      if (window === undefined) throw new Error(`no window for ${report.identifier}`);
      const { heldFor, ...frozen } = report;
      const held = report.value < 0n ? sumOf(this.#heldReports(report)) : 0n;
      const isBooking = report.kind === "drift" || report.kind === "unbilled";
      const state = heldFor !== undefined ? "held" : isBooking ? "accepted" : "planned";
      const settledMs = state === "planned" ? undefined : nowMs();
      this.reports.set(report.identifier, {
        ...frozen,
        state,
        reason: heldFor ?? "",
        attempts: 0,
        firstAttemptMs: undefined,
        nextAttemptMs: nowMs(),
        plannedMs: nowMs(),
        settledMs,
        reconciledMs: state === "accepted" ? nowMs() : undefined,
        leaseEpoch: epoch,
        sink: "",
      });
      if (report.kind === "usage") window.reported += report.value;
      if (state === "accepted") this.#counts(report, window);
      window.nextSequence += 1;
      const { periodClosed } = this.#billingTime(report.stripeCustomerId, report.eventName, report.timestampMs);
      watcher.frozen(report, window, periodClosed, held);
    }
  }

  #checkConstraints(reports: readonly PlannedReport[]): void {
    const taken = new Set<string>();
    for (const report of reports) {
      const { identifier, value, origin, kind } = report;
      const keys = [
        identifier,
        `${windowName(report)} ${report.sequence}`,
        origin === undefined ? "" : `${origin} ${kind}`,
      ];
      for (const key of keys) {
        if (key !== "" && taken.has(key)) throw new Error(`duplicate key ${key}`);
        taken.add(key);
      }
      const other = this.reports.get(identifier);
      if (other !== undefined || value === 0n) throw new Error(`the report ${identifier} breaks a constraint`);
      if (
        [...this.reports.values()].some(
          (one) => one.sequence === report.sequence && windowName(one) === windowName(report),
        )
      )
        throw new Error(`the sequence ${report.sequence} of ${windowName(report)} is taken`);
    }
  }

  /** A report begins to count, or ceases to where its value comes negative. */
  #counts(
    {
      stripeCustomerId,
      eventName,
      timestampMs,
      value,
    }: Pick<ReportRow, "stripeCustomerId" | "eventName" | "timestampMs" | "value">,
    window: WindowRow,
  ): void {
    window.accepted += value;
    this.#options.billing.reopen(stripeCustomerId, eventName, timestampMs);
  }

  accept(report: ReportRow): void {
    const window = this.#options.ledger.windows.get(windowName(report));
    if (window === undefined) throw new Error(`no window for ${report.identifier}`);
    report.state = "accepted";
    this.#counts(report, window);
  }

  replaceClosed(grant: LeaseGrant, limit: number, context: Omit<PlanContext, "nowMs">): readonly PlannedReport[] {
    const { lease, ledger, nowMs } = this.#options;
    lease.fence(grant);
    const closed = [...this.reports.values()].filter(
      ({ state, firstAttemptMs, kind, stripeCustomerId, eventName, timestampMs }) => {
        if (state !== "planned" || firstAttemptMs !== undefined || kind === "cancel") return false;
        return this.#billingTime(stripeCustomerId, eventName, timestampMs).periodClosed;
      },
    );
    const taken = new Map<string, number>();
    const retries = closed.slice(0, limit).flatMap((report) => {
      const { state, stripeCustomerId, eventName, timestampMs } = report;
      if (state !== "planned" || !mayRetry(report.reason)) return [];
      const name = windowName(report);
      const nextSequence = (ledger.windows.get(name)?.nextSequence ?? 0) + (taken.get(name) ?? 0);
      taken.set(name, (taken.get(name) ?? 0) + 1);
      const time = this.#billingTime(stripeCustomerId, eventName, timestampMs);
      const replaceable: ReplaceableReport = {
        ...report,
        ...time,
        state,
        payingCustomerId: stripeCustomerId,
        nextSequence,
      };
      return [retryOf(replaceable, { ...context, nowMs: nowMs() })];
    });
    this.insert(grant.epoch, retries);
    for (const { origin } of retries) {
      const replaced = this.reports.get(origin ?? "");
      if (replaced === undefined) throw new Error(`no report ${origin}`);
      replaced.state = "superseded";
      replaced.settledMs = nowMs();
    }
    return retries;
  }

  claim(grant: LeaseGrant, sink: SinkName, limit: number): ClaimStep {
    const { lease, nowMs } = this.#options;
    lease.fence(grant);
    const now = nowMs();
    const open = [...this.reports.values()].filter(isOpen);
    const waits = new Set(
      open
        .filter((r) => r.state !== "sending" && r.attempts > 0 && r.nextAttemptMs > now)
        .map((r) => `${r.customerId} ${r.eventName}`),
    );
    const due = open
      .filter((r) => r.nextAttemptMs <= now && (r.state !== "sending" || r.leaseEpoch < grant.epoch))
      .filter((r) => r.sink === "" || r.sink === sink || !maySend(r.firstAttemptMs, now))
      .filter((r) => !waits.has(`${r.customerId} ${r.eventName}`))
      .sort((a, b) => deadlineOf(a) - deadlineOf(b) || a.nextAttemptMs - b.nextAttemptMs)
      .slice(0, limit);
    const past = due.filter((report) => !maySend(report.firstAttemptMs, now));
    for (const report of past) this.#hold(report, grant.epoch);
    const claimed = due
      .filter((report) => !past.includes(report))
      .map((report) => {
        const before = report.state === "planned" ? ("planned" as const) : ("unknown" as const);
        report.state = "sending";
        report.reason = "";
        report.attempts += 1;
        report.firstAttemptMs ??= now;
        report.leaseEpoch = grant.epoch;
        report.sink = sink;
        return { ...reportOf(report), before, attempts: report.attempts };
      });
    return { claimed, held: past.map(({ identifier }) => identifier) };
  }

  #hold(report: ReportRow, epoch: bigint): void {
    const { nowMs } = this.#options;
    report.state = "held";
    report.reason = HELD_OUTCOME_UNKNOWN;
    report.settledMs = nowMs();
    report.leaseEpoch = epoch;
    this.requestHour(report.stripeCustomerId, report.eventName, report.timestampMs);
  }

  requestHour(stripeCustomerId: string, eventName: string, timestampMs: number): void {
    const startMs = Math.floor(timestampMs / HOUR_MS) * HOUR_MS;
    const key = `${stripeCustomerId} ${eventName} ${startMs}`;
    const requestedMs = this.#options.nowMs();
    const { apply } = this.requestedHours.get(key) ?? {};
    this.requestedHours.set(key, { stripeCustomerId, eventName, startMs, requestedMs, apply });
  }

  /** What is not settled of a period learns when its invoice becomes final. */
  setDeadlines(stripeCustomerId: string, eventName: string, { startMs, endMs }: Interval, finalizesMs: number): void {
    for (const report of this.reports.values()) {
      if (report.stripeCustomerId !== stripeCustomerId || report.eventName !== eventName) continue;
      if (startMs > report.timestampMs || report.timestampMs >= endMs) continue;
      if (isOpen(report) || report.state === "sent") report.finalizesAtMs = finalizesMs;
    }
  }

  settle(grant: LeaseGrant, settled: readonly SettledReport[]): void {
    const { lease, nowMs } = this.#options;
    if (settled.length === 0) return;
    lease.fence(grant);
    for (const {
      report: { identifier },
      settlement,
    } of settled) {
      const report = this.reports.get(identifier);
      if (report?.state !== "sending" || report.leaseEpoch !== grant.epoch) continue;
      const { state, reason, attempts, untouched, retryAfterMs } = settlement;
      report.reason = reason;
      report.attempts = attempts;
      if (untouched) report.firstAttemptMs = undefined;
      if (state === "planned" && untouched) report.sink = "";
      report.nextAttemptMs = nowMs() + retryAfterMs;
      report.settledMs = state === "sent" || state === "accepted" || state === "held" ? nowMs() : undefined;
      if (state === "accepted") this.accept(report);
      else report.state = state;
      // Refused, after a send that may have been counted: Stripe's sums will tell.
      if (state === "held" && report.firstAttemptMs !== undefined) {
        this.requestHour(report.stripeCustomerId, report.eventName, report.timestampMs);
      }
    }
  }
}

/** Usage's 23 h once sent, the invoice's finalization, Stripe's 35 days. */
function deadlineOf({ firstAttemptMs, finalizesAtMs, timestampMs }: ReportRow): number {
  return Math.min(
    firstAttemptMs === undefined ? Number.POSITIVE_INFINITY : firstAttemptMs + 23 * HOUR_MS,
    finalizesAtMs ?? Number.POSITIVE_INFINITY,
    timestampMs + 35 * DAY_MS,
  );
}

function sumOf(reports: readonly ReportRow[]): bigint {
  return reports.reduce((sum, { value }) => sum + value, 0n);
}

function cursorOf({ windowEndMs, customerId, windowStartMs, eventName, payload }: WindowRow): PlanCursor {
  return { windowEndMs, customerId, windowStartMs, eventName, payload };
}

function compareCursors(a: PlanCursor, b: PlanCursor): number {
  return (
    a.windowEndMs - b.windowEndMs ||
    compareText(a.customerId, b.customerId) ||
    a.windowStartMs - b.windowStartMs ||
    compareText(a.eventName, b.eventName) ||
    compareText(a.payload, b.payload)
  );
}
