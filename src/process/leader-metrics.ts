// Metrics of the flush leader's work: the way to Stripe, and whether Stripe counted the same.
import { Counter, Gauge, type Registry } from "prom-client";
import type { FlushObserver } from "../app/flush.ts";
import type { ReconcileObserver } from "../app/reconcile.ts";

/** An observer whose state is nobody's once it leads no more. */
type OfLeader<Observer> = Observer & { forget(): void };

export function flushObserver(registers: Registry[], nowMs: () => number): OfLeader<FlushObserver> {
  const planned = new Counter({
    name: "metering_reports_planned_total",
    help: "Reports to Stripe that were frozen.",
    registers,
  });
  const sent = new Counter({
    name: "metering_reports_sent_total",
    help: "Sends to Stripe, by outcome.",
    labelNames: ["outcome"],
    registers,
  });
  const held = new Counter({
    name: "metering_reports_held_total",
    help: "Reports put on hold, by reason. Each waits for an operator.",
    labelNames: ["reason"],
    registers,
  });
  const { outbox, deadline, overdue } = outboxGauges(registers);
  const reasons = new Set<string>();
  let oldest: { lagMs: number; atMs: number } | undefined;
  new Gauge({
    name: "metering_outbox_lag_seconds",
    help: "Since the oldest window ended that is not yet with Stripe. Shown by the flush leader.",
    registers,
    collect() {
      // It grows between two looks, if there is anything at all.
      const grownMs = oldest === undefined || oldest.lagMs === 0 ? 0 : oldest.lagMs + nowMs() - oldest.atMs;
      this.set(grownMs / 1000);
    },
  });
  return {
    planned: (reports) => planned.inc(reports),
    sent(counts) {
      for (const [outcome, count] of Object.entries(counts)) if (count > 0) sent.inc({ outcome }, count);
    },
    held: (reason, reports) => held.inc({ reason: boundedReason(reasons, reason) }, reports),
    backlog(backlog, due) {
      for (const { kind, tightestInMs, overdue: late } of due) {
        deadline.set({ kind }, tightestInMs === null ? Number.POSITIVE_INFINITY : tightestInMs / 1000);
        overdue.set({ kind }, late);
      }
      outbox.set({ what: "open_reports" }, backlog.openReports);
      outbox.set({ what: "other_sink_reports" }, backlog.otherSinkReports);
      outbox.set({ what: "held_reports" }, backlog.heldReports);
      outbox.set({ what: "unmapped_windows" }, backlog.unmappedWindows);
      oldest = { lagMs: backlog.lagMs, atMs: nowMs() };
    },
    forget() {
      for (const gauge of [outbox, deadline, overdue]) gauge.reset();
      oldest = undefined;
    },
  };
}

function outboxGauges(registers: Registry[]) {
  const outbox = new Gauge({
    name: "metering_outbox",
    help: "What has not come to its end: open reports, those of them that wait for another STRIPE_SINK, held reports, and windows whose customer is unknown to Stripe.",
    labelNames: ["what"],
    registers,
  });
  const deadline = new Gauge({
    name: "metering_deadline_seconds",
    help:
      "Time left to the tightest deadline of each kind, as of the leader's last pass; +Inf where nothing waits. invoice: a draft becomes final; " +
      "resend: a send of unknown fate may be repeated no more; age: Stripe takes nothing older than 35 days.",
    labelNames: ["kind"],
    registers,
  });
  const overdue = new Gauge({
    name: "metering_overdue",
    help: "What has passed its deadline, by kind: it is billed late, or needs a person.",
    labelNames: ["kind"],
    registers,
  });
  return { outbox, deadline, overdue };
}

export function reconcileObserver(registers: Registry[], nowMs: () => number): OfLeader<ReconcileObserver> {
  const compared = new Counter({
    name: "metering_compared_spans_total",
    help: "Spans of a customer's meter, mostly hours, compared with Stripe's sums, by what came of them.",
    labelNames: ["result"],
    registers,
  });
  const repaired = new Counter({
    name: "metering_repaired_quantity_total",
    help: "Quantities that repairs were planned of: reported anew, since Stripe had not counted them, or taken back.",
    labelNames: ["direction"],
    registers,
  });
  const drifts = new Gauge({
    name: "metering_drift_open",
    help: "Differences between Stripe's sums and the ledger that are not repaired, by explanation. Shown by the flush leader.",
    labelNames: ["explanation"],
    registers,
  });
  let oldest: { ageMs: number; atMs: number } | undefined;
  new Gauge({
    name: "metering_unreconciled_age_seconds",
    help: "Since Stripe took the oldest report that none of its sums has confirmed yet. Shown by the flush leader.",
    registers,
    collect() {
      const grownMs = oldest === undefined || oldest.ageMs === 0 ? 0 : oldest.ageMs + nowMs() - oldest.atMs;
      this.set(grownMs / 1000);
    },
  });
  return {
    compared: (result, spans) => compared.inc({ result }, spans),
    repaired(difference) {
      const direction = difference < 0n ? "added" : "removed";
      repaired.inc({ direction }, Math.abs(Number(difference)));
    },
    state({ openDrifts, oldestUnreconciledMs }) {
      for (const [explanation, count] of Object.entries(openDrifts)) drifts.set({ explanation }, count);
      oldest = { ageMs: oldestUnreconciledMs, atMs: nowMs() };
    },
    forget() {
      drifts.reset();
      oldest = undefined;
    },
  };
}

const REASONS_MAX = 50;

/** Reasons are Stripe's error codes: few, but not ours to bound. */
function boundedReason(seen: Set<string>, reason: string): string {
  if (!seen.has(reason) && seen.size >= REASONS_MAX) return "other";
  seen.add(reason);
  return reason;
}
