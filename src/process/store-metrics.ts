// Metrics of what all processes share: the ledger and Redis. Every process looks and shows the same, so that an alert sees a store that is
// away, or a role that nobody runs, whatever processes are left. Over processes: max().
import { Gauge, type Registry } from "prom-client";
import type { LedgerSigns } from "../postgres/vital-signs.ts";
import type { RedisSigns } from "../redis/vital-signs.ts";

/** Fills the gauges. Undefined: the store did not answer, and what it said before is shown no more. */
export interface StoreMetrics {
  ledger(signs: LedgerSigns | undefined): void;
  databaseBytes(bytes: number | undefined): void;
  redis(signs: RedisSigns | undefined): void;
}

/** Connections of this process's pool. */
export interface PoolCounts {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

export function storeMetrics(registers: Registry[]): StoreMetrics {
  const ledger = ledgerGauges(registers);
  const redis = redisGauges(registers);
  const databaseBytes = absentGauge(
    registers,
    "metering_database_bytes",
    "Size of the database on disk, its write-ahead log aside. How much room is left only the host of Postgres knows.",
  );
  return { ledger, redis, databaseBytes: (bytes) => show(databaseBytes, bytes) };
}

/** What the pool holds is read at each scrape. */
export function poolMetrics(registers: Registry[], pool: PoolCounts): void {
  new Gauge({
    name: "metering_postgres_connections",
    help: "Connections of this process to Postgres: busy, idle; waiting: who waits for one.",
    labelNames: ["state"],
    registers,
    collect() {
      this.set({ state: "busy" }, pool.totalCount - pool.idleCount);
      this.set({ state: "idle" }, pool.idleCount);
      this.set({ state: "waiting" }, pool.waitingCount);
    },
  });
}

function ledgerGauges(registers: Registry[]): StoreMetrics["ledger"] {
  const gauge = (name: string, help: string) => absentGauge(registers, name, help);
  const up = gauge("metering_postgres_up", "1 while Postgres answers this process.");
  const lag = gauge(
    "metering_ledger_lag_seconds",
    "How far the ledger is behind Redis, by the database: the worst of all shards, drained or not. Absent with Postgres intake.",
  );
  const workers = gauge("metering_drain_workers", "Drain workers that live, in all processes.");
  const held = gauge("metering_flush_lease_held", "1 while some process leads the flush.");
  const gaps = gauge("metering_gaps_listed", "Losses of acknowledged records that the ledger lists.");
  const lastGap = gauge(
    "metering_last_gap_timestamp_seconds",
    "When the latest of them was seen. Absent where there is none.",
  );
  const events = new Gauge({
    name: "metering_stripe_events",
    help: "Stored webhook events that are not applied. waiting: for their turn or a retry; dead: given up.",
    labelNames: ["state"],
    registers,
  });
  return (signs) => {
    up.set(signs === undefined ? 0 : 1);
    show(lag, signs?.watermarkLagMs, 1000);
    show(workers, signs?.drainWorkers);
    show(held, signs && (signs.leaseHeld ? 1 : 0));
    show(gaps, signs?.gaps);
    show(lastGap, signs?.lastGapMs, 1000);
    events.reset();
    if (signs === undefined) return;
    events.set({ state: "waiting" }, signs.stripeEvents.waiting);
    events.set({ state: "dead" }, signs.stripeEvents.dead);
  };
}

function redisGauges(registers: Registry[]): StoreMetrics["redis"] {
  const gauge = (name: string, help: string) => absentGauge(registers, name, help);
  const up = gauge("metering_redis_up", "1 while Redis answers this process. Absent with Postgres intake.");
  const memory = gauge("metering_redis_memory_bytes", "Memory that Redis uses.");
  const memoryMax = gauge(
    "metering_redis_memory_max_bytes",
    "Memory past which Redis refuses records. Absent where maxmemory is not set.",
  );
  const file = gauge("metering_redis_aof_bytes", "Size of Redis' append-only file.");
  const persistence = gauge(
    "metering_redis_persistence_ok",
    "0 when Redis' last write to its append-only file, or its rewrite, failed: mostly a full disk.",
  );
  return (signs) => {
    up.set(signs === undefined ? 0 : 1);
    show(memory, signs?.memoryBytes);
    show(memoryMax, signs?.memoryMaxBytes);
    show(file, signs?.appendOnlyFileBytes);
    show(persistence, signs && (signs.persistenceOk ? 1 : 0));
  };
}

/** A gauge without labels that says nothing until it is set: 0 would be a statement. */
function absentGauge(registers: Registry[], name: string, help: string): Gauge {
  const gauge = new Gauge({ name, help, registers });
  gauge.remove();
  return gauge;
}

function show(gauge: Gauge, value: number | undefined, unit = 1): void {
  if (value === undefined) gauge.remove();
  else gauge.set(value / unit);
}
