// How live a stream is: from the acknowledgement of a record to the arrival of an update whose totals hold it. Records come at a steady
// pace, each by either of two replicas; every customer is followed on both.
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { NamedPeriod, UsageDimension } from "../../gen/metering/v1/usage_pb.ts";
import { runLoad } from "../child.ts";
import { CUSTOMERS } from "../scenarios.ts";
import { quantileOf } from "../statistics.ts";
import { Caller } from "./clients.ts";
import type { Stage } from "./stage.ts";

/** What is sent, and who follows. */
export interface FeedPlan {
  /** Each with a stream on every replica. */
  readonly customers: number;
  /** Over all customers. */
  readonly recordsPerSecond: number;
  /** Beside other customers' records, which come as fast as they are answered. */
  readonly beside: "nothing" | "full speed";
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface FeedRun {
  readonly streams: number;
  /** Acknowledged while measured. */
  readonly recordsPerSecond: number;
  /** From acknowledgement to arrival, over all records and streams that had to tell them. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** Of these, those within LIVE_MS; 0..1. */
  readonly live: number;
  /** Same, of the quickest that a reader can do without a stream: GetUsage with the record's consistency token. */
  readonly readP50Ms: number;
  /** Records of the others, acknowledged while measured. */
  readonly besidePerSecond: number;
  /** Of the machine, over the last minute, at the end. */
  readonly loadAverage: number;
}

export const LIVE_MS = 250;
/** Single records, as many callers as a backend may have. */
const FULL_SPEED = { batch: 1, calls: 32, connections: 2 };
const READ_EVERY_MS = 200;
/** A stream that has not told everything by then never will. */
const PATIENCE_MS = 60_000;

/** One customer: its records one after another, so that a stream's count says which of them it holds. */
interface Lane {
  readonly customerId: string;
  /** When each record was acknowledged, in order. */
  readonly ackedMs: number[];
  /** Records that each of its streams has told. */
  readonly told: number[];
}

let runs = 0;

/** Throws where a stream did not come to tell just what was acknowledged. */
export async function runFeed({ replicas }: Stage, plan: FeedPlan): Promise<FeedRun> {
  runs += 1;
  const writers = replicas.map(({ grpcPort }) => new Caller(grpcPort));
  const watchers = replicas.map(({ grpcPort }) => new Caller(grpcPort));
  const lanes = Array.from({ length: plan.customers }, (_, i): Lane => {
    return { customerId: `cus_feed_${runs}_${i}`, ackedMs: [], told: watchers.map(() => -1) };
  });
  const stopped = new AbortController();
  const fromMs = performance.now() + plan.warmUpMs;
  const toMs = fromMs + plan.measureMs;
  const isMeasured = (ms: number) => ms >= fromMs && ms < toMs;
  const latenciesMs: number[] = [];
  const streams = lanes.flatMap((lane) => {
    return watchers.map((watcher, w) => {
      const { customerId } = lane;
      const request = { customerId, period: NamedPeriod.CURRENT_MONTH, groupBy: [UsageDimension.MODEL] };
      return watcher.follow(request, stopped.signal, (records) => {
        const nowMs = performance.now();
        for (let i = Math.max(lane.told[w] ?? 0, 0); i < records; i += 1) {
          // Told before its caller knows: as live as can be.
          const ackedMs = lane.ackedMs[i] ?? nowMs;
          if (isMeasured(ackedMs)) latenciesMs.push(nowMs - ackedMs);
        }
        lane.told[w] = records;
      });
    });
  });
  const followed = Promise.all(streams);
  followed.catch(() => {});
  const readsMs: number[] = [];
  const work = (async () => {
    await until(() => lanes.every(({ told }) => told.every((records) => records >= 0)));
    const beside =
      plan.beside === "nothing"
        ? undefined
        : runLoad({ ...FULL_SPEED, ...plan, customers: CUSTOMERS, port: replicas[0]?.grpcPort ?? 0 });
    const reading = read(writers, lanes[0]?.customerId ?? "", toMs, readsMs);
    await Promise.all([...lanes.map((lane, i) => write(writers, lane, i, plan, toMs)), reading]);
    const load = await beside;
    await until(() => lanes.every(({ told, ackedMs }) => told.every((records) => records === ackedMs.length)));
    return load === undefined ? 0 : load.measured / (load.measuredMs / 1000);
  })();
  await Promise.race([work, followed]).finally(() => stopped.abort());
  const besidePerSecond = await work;
  await followed;
  for (const caller of [...writers, ...watchers]) caller.close();
  const sorted = Float64Array.from(latenciesMs).sort();
  const acked = lanes.reduce((sum, { ackedMs }) => sum + ackedMs.filter(isMeasured).length, 0);
  return {
    streams: streams.length,
    recordsPerSecond: acked / (plan.measureMs / 1000),
    p50Ms: quantileOf(sorted, 0.5),
    p95Ms: quantileOf(sorted, 0.95),
    p99Ms: quantileOf(sorted, 0.99),
    live: sorted.filter((ms) => ms <= LIVE_MS).length / sorted.length,
    readP50Ms: quantileOf(Float64Array.from(readsMs).sort(), 0.5),
    besidePerSecond,
    loadAverage: loadavg()[0] ?? Number.NaN,
  };
}

/** A customer's records, evenly, by each replica in turn. One that is late is not made up for: the rate that was kept is told. */
async function write(
  writers: readonly Caller[],
  lane: Lane,
  index: number,
  plan: FeedPlan,
  toMs: number,
): Promise<void> {
  const everyMs = (plan.customers * 1000) / plan.recordsPerSecond;
  let dueMs = performance.now() + (everyMs * index) / plan.customers;
  for (let sent = 0; ; sent += 1) {
    await delay(Math.max(0, dueMs - performance.now()));
    if (performance.now() >= toMs) return;
    const writer = writers[(index + sent) % writers.length];
    if (writer === undefined) throw new Error("no replica");
    await writer.record(lane.customerId, sent);
    lane.ackedMs.push(performance.now());
    dueMs = Math.max(dueMs + everyMs, performance.now());
  }
}

/** How long after an acknowledgement GetUsage counts the record, of a customer of its own that no stream follows. */
async function read(writers: readonly Caller[], beside: string, toMs: number, readsMs: number[]): Promise<void> {
  const [writer] = writers;
  const customerId = `${beside}_read`;
  for (let sent = 0; writer !== undefined && performance.now() < toMs; sent += 1) {
    const consistencyToken = await writer.record(customerId, sent);
    const ackedMs = performance.now();
    await writer.read(customerId, consistencyToken);
    readsMs.push(performance.now() - ackedMs);
    await delay(READ_EVERY_MS);
  }
}

async function until(isSo: () => boolean): Promise<void> {
  const sinceMs = performance.now();
  while (!isSo()) {
    if (performance.now() - sinceMs > PATIENCE_MS) throw new Error("streams do not tell what was acknowledged");
    await delay(20);
  }
}
