// What Prometheus reads at /metrics. The names are public: dashboards and alerts depend on them. Labels are closed sets; no customer,
// key, model or shard is ever one.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { FlushObserver } from "../app/flush.ts";
import type { ApplyOutcome } from "../app/ports/ledger.ts";
import type { LedgerDrift } from "../app/ports/limits.ts";
import type { ReconcileObserver } from "../app/reconcile.ts";
import { type DrainObserver, GAP_REASONS } from "../app/shard-drain.ts";
import { LIMIT_WINDOWS } from "../domain/limits.ts";
import type { RpcObserver } from "../rpc/edge.ts";
import { flushObserver, reconcileObserver } from "./leader-metrics.ts";
import { type PoolCounts, poolMetrics, type StoreMetrics, storeMetrics } from "./store-metrics.ts";
import { programVersion } from "./version.ts";

/** The registry of one process, and the observers that fill it. */
export interface Metrics {
  readonly registry: Registry;
  readonly rpc: RpcObserver;
  readonly drain: DrainObserver;
  readonly flush: FlushObserver;
  readonly reconcile: ReconcileObserver;
  readonly limitDrift: (drift: LedgerDrift) => void;
  readonly stores: StoreMetrics;
  /** Shows the connections of this process from now on. Once. */
  pool(counts: PoolCounts): void;
  /** One delivery to the webhook port. */
  webhookDelivery(outcome: string): void;
  /** Whether the intake keeps what it acknowledges; see Durability. */
  intakeDurable(durable: boolean): void;
  /** Whether this process leads the flush. What only the leader knows is shown no more when it stops: another one's numbers count then. */
  leading(leads: boolean): void;
}

/** From a lone caller's fraction of a millisecond to the longest deadline. */
const CALL_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** `nowMs` is a clock that never steps back. One per process: the default metrics are of the process. */
export function createMetrics(nowMs: () => number = () => performance.now()): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  new Gauge({
    name: "metering_build_info",
    help: "1; the label tells which version runs, which is of use while one is rolled out.",
    labelNames: ["version"],
    registers,
  }).set({ version: programVersion() }, 1);
  const deliveries = new Counter({
    name: "metering_webhook_deliveries_total",
    help: "Webhook deliveries, by how they ended.",
    labelNames: ["outcome"],
    registers,
  });
  for (const outcome of ["stored", "duplicate", "ignored", "refused", "failed"]) deliveries.inc({ outcome }, 0);
  const durable = new Gauge({
    name: "metering_intake_durable",
    help: "1 when acknowledged records are on disk, 0 when the store is configured weaker: see /readyz. Absent where no records are taken.",
    registers,
  });
  // A process that takes no records has nothing to say of it.
  durable.remove();
  const leader = new Gauge({
    name: "metering_flush_leader",
    help: "1 while this process holds the flush lease; the sum over all processes is 1.",
    registers,
  });
  const limitDrift = new Counter({
    name: "metering_limit_drift_tokens_total",
    help: "By how much counters of limits were found to differ from the ledger's sums, and set right, by the window of the limit.",
    labelNames: ["window"],
    registers,
  });
  for (const window of LIMIT_WINDOWS) limitDrift.inc({ window }, 0);
  const flush = flushObserver(registers, nowMs);
  const reconcile = reconcileObserver(registers, nowMs);
  return {
    registry,
    rpc: rpcObserver(registers),
    drain: drainObserver(registers, nowMs),
    flush,
    reconcile,
    stores: storeMetrics(registers),
    pool: (counts) => poolMetrics(registers, counts),
    webhookDelivery: (outcome) => deliveries.inc({ outcome }),
    intakeDurable: (isDurable) => durable.set(isDurable ? 1 : 0),
    limitDrift: ({ window, counted, recorded }) => limitDrift.inc({ window }, Math.abs(Number(counted - recorded))),
    leading(leads) {
      leader.set(leads ? 1 : 0);
      if (leads) return;
      flush.forget();
      reconcile.forget();
    },
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

/** From the start, so that an alert on their growth sees the first one. */
const REFUSED_OUTCOMES: readonly ApplyOutcome[] = ["key_reused", "overflow", "unstorable"];

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
  for (const outcome of REFUSED_OUTCOMES) applied.inc({ outcome }, 0);
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
