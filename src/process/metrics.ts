// What Prometheus reads at /metrics. The names are public: dashboards and alerts depend on them. Labels are closed sets; no customer,
// key, model or shard is ever one.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { FlushObserver } from "../app/flush.ts";
import type { ReconcileObserver } from "../app/reconcile.ts";
import { type DrainObserver, GAP_REASONS } from "../app/shard-drain.ts";
import type { RpcObserver } from "../rpc/edge.ts";

/** The registry of one process, and the observers that fill it. */
export interface Metrics {
  readonly registry: Registry;
  readonly rpc: RpcObserver;
  readonly drain: DrainObserver;
  readonly flush: FlushObserver;
  readonly reconcile: ReconcileObserver;
  /** One delivery to the webhook port. */
  webhookDelivery(outcome: string): void;
  /** Whether the intake keeps what it acknowledges; see Durability. */
  intakeDurable(durable: boolean): void;
  /** Whether this process leads the flush. */
  leading(leads: boolean): void;
}

/** From a lone caller's fraction of a millisecond to the longest deadline. */
const CALL_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

/** `nowMs` is a clock that never steps back. One per process: the default metrics are of the process. */
export function createMetrics(nowMs: () => number = () => performance.now()): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const deliveries = new Counter({
    name: "metering_webhook_deliveries_total",
    help: "Webhook deliveries, by how they ended.",
    labelNames: ["outcome"],
    registers,
  });
  const durable = new Gauge({
    name: "metering_intake_durable",
    help: "1 when acknowledged records are on disk, 0 when the store is configured weaker: see /readyz.",
    registers,
  });
  const leader = new Gauge({
    name: "metering_flush_leader",
    help: "1 while this process holds the flush lease; the sum over all processes is 1.",
    registers,
  });
  return {
    registry,
    rpc: rpcObserver(registers),
    drain: drainObserver(registers, nowMs),
    flush: flushObserver(registers, nowMs),
    reconcile: reconcileObserver(registers, nowMs),
    webhookDelivery: (outcome) => deliveries.inc({ outcome }),
    intakeDurable: (isDurable) => durable.set(isDurable ? 1 : 0),
    leading: (leads) => leader.set(leads ? 1 : 0),
  };
}

function rpcObserver(registers: Registry[]): RpcObserver {
  const calls = new Histogram({
    name: "metering_rpc_seconds",
    help: "Time a call took in the server, by RPC and canonical code.",
    labelNames: ["rpc", "code"],
    buckets: CALL_SECONDS,
    registers,
  });
  const records = new Counter({
    name: "metering_records_total",
    help: "Records of RecordUsage and BatchRecordUsage: recorded, duplicate, or the reason they were refused for.",
    labelNames: ["result"],
    registers,
  });
  const streams = new Gauge({
    name: "metering_open_streams",
    help: "StreamUsage calls that are open.",
    registers,
  });
  return {
    callEnded: (rpc, code, durationMs) => calls.observe({ rpc, code }, durationMs / 1000),
    recordEnded: (result) => records.inc({ result }),
    openStreams: (change) => streams.inc(change),
  };
}

/** A shard heard of longer ago is drained by another process now. */
const POSITION_FRESH_MS = 10_000;

function drainObserver(registers: Registry[], nowMs: () => number): DrainObserver {
  const positions = new Map<number, { lagMs: number; entryCount: number; atMs: number }>();
  const fresh = () => [...positions.values()].filter(({ atMs }) => nowMs() - atMs < POSITION_FRESH_MS);
  const applied = new Counter({
    name: "metering_drained_records_total",
    help: "Records brought from Redis to the ledger, by how they ended there; all but applied and duplicate are listed as refused.",
    labelNames: ["outcome"],
    registers,
  });
  new Gauge({
    name: "metering_watermark_lag_seconds",
    help: "How far the ledger is behind the intake: the worst of the shards that this process drains.",
    registers,
    collect() {
      this.set(Math.max(0, ...fresh().map(({ lagMs }) => lagMs)) / 1000);
    },
  });
  new Gauge({
    name: "metering_buffer_entries",
    help: "Commits that wait in Redis for the ledger, over the shards that this process drains.",
    registers,
    collect() {
      this.set(fresh().reduce((sum, { entryCount }) => sum + entryCount, 0));
    },
  });
  const gaps = new Counter({
    name: "metering_gaps_total",
    help: "Times that acknowledged records may have been lost by Redis. Any is an incident.",
    labelNames: ["reason"],
    registers,
  });
  // From the start, so that an alert on its growth sees the first one.
  for (const reason of GAP_REASONS) gaps.inc({ reason }, 0);
  return {
    applied(_shard, outcomes) {
      for (const outcome of outcomes) applied.inc({ outcome });
    },
    position: (shard, lagMs, entryCount) => void positions.set(shard, { lagMs, entryCount, atMs: nowMs() }),
    gap: (_shard, reason) => gaps.inc({ reason }),
  };
}

function flushObserver(registers: Registry[], nowMs: () => number): FlushObserver {
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
  };
}

function reconcileObserver(registers: Registry[], nowMs: () => number): ReconcileObserver {
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
  };
}

const REASONS_MAX = 50;

/** Reasons are Stripe's error codes: few, but not ours to bound. */
function boundedReason(seen: Set<string>, reason: string): string {
  if (!seen.has(reason) && seen.size >= REASONS_MAX) return "other";
  seen.add(reason);
  return reason;
}
