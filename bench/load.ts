// The load generator, a process of its own: `node bench/load.ts '<LoadSpec as JSON>'` prints one LoadResult as JSON. A closed loop: each
// of `calls` callers sends its next call when the last one was answered. A call that failed, in whole or in part, is sent again as it was,
// half a second later, as a backend would do; its time counts from the first attempt.
import { storedAtFirst, storedAtLast, storedInAnswer, storedInBatchAnswer } from "./answers.ts";
import { type Call, GrpcConnection } from "./http2-connection.ts";
import { RequestSource } from "./requests.ts";
import { quantileOf } from "./statistics.ts";

export interface LoadSpec {
  readonly port: number;
  /** Records a call; 1 means RecordUsage, more BatchRecordUsage. */
  readonly batch: number;
  /** Calls under way at a time, over all connections. */
  readonly calls: number;
  readonly connections: number;
  readonly customers: number;
  /** Sent before anything is measured. */
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface LoadResult {
  /** Records answered as stored, from the first call to the last. */
  readonly acknowledged: number;
  /** Attempts that had to be repeated. */
  readonly retries: number;
  /** Records given up: nothing more came of them for half a minute after the end. */
  readonly failed: number;
  /** Records answered as stored, while measured. */
  readonly measured: number;
  readonly measuredMs: number;
  /** Of calls that ended while measured. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time of this process, all of it. */
  readonly cpuMs: number;
}

const RETRY_MS = 500;
const PATIENCE_MS = 30_000;

async function run(spec: LoadSpec): Promise<LoadResult> {
  const source = new RequestSource(spec.customers, Date.now());
  const next = spec.batch === 1 ? () => source.record() : () => source.batch(spec.batch);
  const count = spec.batch === 1 ? storedInAnswer : storedInBatchAnswer;
  const latenciesMs: number[] = [];
  let [acknowledged, retries, failed, measured, underWay] = [0, 0, 0, 0, 0];
  let [fromMs, toMs] = [0, 0];
  const ended = Promise.withResolvers<void>();

  const onAnswer = (answer: Buffer | undefined, call: Call, connection: GrpcConnection) => {
    const nowMs = performance.now();
    const stored = answer === undefined ? 0 : count(answer, call.attempts === 1 ? storedAtFirst : storedAtLast);
    if (stored === spec.batch) {
      acknowledged += stored;
      if (nowMs >= fromMs && nowMs < toMs) {
        measured += stored;
        latenciesMs.push(nowMs - call.startedMs);
      }
    } else if (nowMs < toMs + PATIENCE_MS) {
      retries += 1;
      setTimeout(() => {
        connection.send(call);
        connection.flush();
      }, RETRY_MS);
      return;
    } else failed += spec.batch;
    if (nowMs < toMs) connection.send({ message: next(), startedMs: nowMs, attempts: 0 });
    else {
      underWay -= 1;
      if (underWay === 0) ended.resolve();
    }
  };
  const path = `/metering.v1.MeteringService/${spec.batch === 1 ? "RecordUsage" : "BatchRecordUsage"}`;
  const open = () => GrpcConnection.open(spec.port, path, onAnswer);
  const connections = await Promise.all(Array.from({ length: spec.connections }, open));
  const startMs = performance.now();
  fromMs = startMs + spec.warmUpMs;
  toMs = fromMs + spec.measureMs;
  for (let i = 0; i < spec.calls; i += 1) {
    underWay += 1;
    connections[i % connections.length]?.send({ message: next(), startedMs: startMs, attempts: 0 });
  }
  for (const connection of connections) connection.flush();
  await ended.promise;
  for (const connection of connections) connection.close();
  const sorted = Float64Array.from(latenciesMs).sort();
  const { user, system } = process.cpuUsage();
  const [p50Ms, p99Ms] = [quantileOf(sorted, 0.5), quantileOf(sorted, 0.99)];
  const cpuMs = (user + system) / 1000;
  return { acknowledged, retries, failed, measured, measuredMs: spec.measureMs, p50Ms, p99Ms, cpuMs };
}

if (import.meta.main) process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2] ?? "") as LoadSpec)));
