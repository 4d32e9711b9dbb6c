// What is run, and one run of it.
import { setTimeout as delay } from "node:timers/promises";
import { runLoad } from "./child.ts";
import { cpuSeconds } from "./cpu.ts";
import type { Target } from "./targets.ts";

/** How calls come. */
export interface Shape {
  readonly name: "single" | "crowd" | "batch";
  /** Records a call. */
  readonly batch: number;
  /** Calls under way at a time, over all connections. */
  readonly calls: number;
  readonly connections: number;
}

export const SHAPES: readonly Shape[] = [
  { name: "single", batch: 1, calls: 256, connections: 4 },
  // Ten times as many callers as it is busy with: each must still have its answer within a second.
  { name: "crowd", batch: 1, calls: 2_560, connections: 8 },
  { name: "batch", batch: 100, calls: 32, connections: 4 },
];
export const CUSTOMERS = 200;

/** Time given to load. */
export interface Timing {
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** Of the lone caller, measured; it warms up for as long as the others. */
  readonly loneMs: number;
}

/** One run of one target under one shape. */
export interface Run {
  readonly recordsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of a caller that is alone and waits for each answer. */
  readonly loneP50Ms: number;
  readonly loneP99Ms: number;
  readonly acknowledged: number;
  readonly stored: number;
  /** Attempts that had to be repeated: the store was away for a moment. */
  readonly retries: number;
  /** CPU time a record, microseconds, by process; with a drain until it has caught up. Empty where it cannot be read. */
  readonly cpuMicros: Readonly<Record<string, number>>;
  /** Rate at which the drain, alone, took what was left when the load had ended; undefined where little was. */
  readonly drainRecordsPerSecond: number | undefined;
}

/** Too little left to time the drain by. */
const BACKLOG_MIN = 10_000;
/** Lets the last run's aftermath pass. */
const REST_MS = 200;

/** Throws where a record was not stored, or the store holds another number than was acknowledged. */
export async function runOnce(target: Target, shape: Shape, timing: Timing): Promise<Run> {
  const { batch } = shape;
  const spec = { port: target.grpcPort, batch, customers: CUSTOMERS, warmUpMs: timing.warmUpMs };
  const before = cpuOf(target);
  const load = await runLoad({
    ...spec,
    calls: shape.calls,
    connections: shape.connections,
    measureMs: timing.measureMs,
  });
  const endedMs = performance.now();
  const drainedBefore = await target.drainedSoFar?.();
  const stored = await storedAfter(target, load.acknowledged, load.failed);
  const drainedMs = performance.now() - endedMs;
  const after = cpuOf(target);
  const backlog = drainedBefore === undefined ? 0 : ((await target.drainedSoFar?.()) ?? 0) - drainedBefore;
  const lone = await runLoad({ ...spec, calls: 1, connections: 1, measureMs: timing.loneMs });
  await storedAfter(target, lone.acknowledged, lone.failed);
  await delay(REST_MS);
  const cpuMicros: Record<string, number> = { load: (load.cpuMs * 1e3) / load.acknowledged };
  for (const [name, seconds] of after)
    cpuMicros[name] = ((seconds - (before.get(name) ?? 0)) * 1e6) / load.acknowledged;
  return {
    recordsPerSecond: load.measured / (load.measuredMs / 1000),
    p50Ms: load.p50Ms,
    p99Ms: load.p99Ms,
    loneP50Ms: lone.p50Ms,
    loneP99Ms: lone.p99Ms,
    acknowledged: load.acknowledged,
    stored,
    retries: load.retries,
    cpuMicros: after.size === 0 ? {} : cpuMicros,
    drainRecordsPerSecond: backlog < BACKLOG_MIN ? undefined : backlog / (drainedMs / 1000),
  };
}

async function storedAfter(target: Target, acknowledged: number, failed: number): Promise<number> {
  if (failed > 0) throw new Error(`${target.name}: ${failed} records were not stored`);
  const stored = (await target.takeStored?.(acknowledged)) ?? acknowledged;
  if (stored !== acknowledged)
    throw new Error(`${target.name}: ${acknowledged} records were acknowledged, the store got ${stored}`);
  return stored;
}

function cpuOf(target: Target): Map<string, number> {
  const all = new Map<string, number>();
  for (const [name, pid] of Object.entries(target.pids)) {
    const seconds = cpuSeconds(pid);
    if (seconds !== undefined) all.set(name, seconds);
  }
  return all;
}
