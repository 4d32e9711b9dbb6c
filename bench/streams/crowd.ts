// How many streams a replica holds: what one costs in memory, and how long it takes until the last of them has told a record.
import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { NamedPeriod, UsageDimension } from "../../gen/metering/v1/usage_pb.ts";
import { quantileOf } from "../statistics.ts";
import { Caller } from "./clients.ts";
import type { Stage } from "./stage.ts";

export interface CrowdPlan {
  /** `equal`: all ask the same of one customer. `different`: each follows a customer of its own. */
  readonly questions: "equal" | "different";
  readonly streams: number;
}

export interface CrowdRun {
  readonly connections: number;
  /** From the first request to the last snapshot. */
  readonly openedMs: number;
  /** Resident memory of the replica, more than before, with all streams open. Undefined where it cannot be read. */
  readonly kibAStream: number | undefined;
  /** From the acknowledgement of the record, of each of its customers where they differ, to the stream that told it. */
  readonly p50Ms: number;
  readonly lastMs: number;
  /** Of the machine, over the last minute, at the end. */
  readonly loadAverage: number;
}

/** Less than what a server allows on one connection. */
const STREAMS_A_CONNECTION = 900;
const WRITERS = 16;
/** A memory that has come to rest. */
const REST_MS = 2_000;
const PATIENCE_MS = 300_000;

let runs = 0;

/** Throws where not every stream told its record. */
export async function runCrowd({ replicas, pids }: Stage, plan: CrowdPlan): Promise<CrowdRun> {
  runs += 1;
  const [replica] = replicas;
  if (replica === undefined) throw new Error("no replica");
  const connections = Math.ceil(plan.streams / STREAMS_A_CONNECTION);
  const callers = Array.from({ length: connections }, () => new Caller(replica.grpcPort));
  const writer = new Caller(replica.grpcPort);
  const ids = Array.from({ length: plan.streams }, (_, i) => {
    return plan.questions === "equal" ? `cus_crowd_${runs}` : `cus_crowd_${runs}_${i}`;
  });
  const ackedMs = new Map<string, number>();
  const latenciesMs: number[] = [];
  let [opened, told] = [0, 0];
  const stopped = new AbortController();
  const before = residentKib(pids["api 1"]);
  const startMs = performance.now();
  const streams = ids.map((customerId, i) => {
    const caller = callers[i % connections] ?? writer;
    const pace = { heartbeatInterval: { seconds: 60n } };
    const request = { customerId, period: NamedPeriod.CURRENT_MONTH, groupBy: [UsageDimension.MODEL], ...pace };
    return caller.follow(request, stopped.signal, (records) => {
      if (records === 0) opened += 1;
      else {
        const nowMs = performance.now();
        latenciesMs.push(nowMs - (ackedMs.get(customerId) ?? nowMs));
        told += 1;
      }
    });
  });
  const followed = Promise.all(streams);
  followed.catch(() => {});
  const work = (async () => {
    await until(() => opened === plan.streams, "streams have no snapshot");
    const openedMs = performance.now() - startMs;
    await delay(REST_MS);
    const after = residentKib(pids["api 1"]);
    await writeOne(writer, [...new Set(ids)], ackedMs);
    await until(() => told >= plan.streams, "streams did not tell their record");
    return { openedMs, kibAStream: before && after && (after - before) / plan.streams };
  })();
  await Promise.race([work, followed]).finally(() => stopped.abort());
  const { openedMs, kibAStream } = await work;
  await followed;
  for (const caller of [...callers, writer]) caller.close();
  const sorted = Float64Array.from(latenciesMs).sort();
  return {
    connections,
    openedMs,
    kibAStream,
    p50Ms: quantileOf(sorted, 0.5),
    lastMs: sorted.at(-1) ?? Number.NaN,
    loadAverage: loadavg()[0] ?? Number.NaN,
  };
}

async function writeOne(writer: Caller, ids: string[], ackedMs: Map<string, number>): Promise<void> {
  const lane = async () => {
    for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
      await writer.record(id, 0);
      ackedMs.set(id, performance.now());
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, lane));
}

/** Undefined where there is no /proc. */
function residentKib(pid: number | undefined): number | undefined {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return undefined;
  }
}

async function until(isSo: () => boolean, otherwise: string): Promise<void> {
  const sinceMs = performance.now();
  while (!isSo()) {
    if (performance.now() - sinceMs > PATIENCE_MS) throw new Error(otherwise);
    await delay(20);
  }
}
