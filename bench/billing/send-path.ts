// How fast reports go to Stripe: `metering serve --roles flush` brings windows that wait to a simulated Stripe, beside the bare SDK that
// sends as many events. Both are processes of their own, against a simulator of their own, one after the other.
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Pool } from "../../src/postgres/pool.ts";
import type { EmbeddedPostgres } from "../../src/process/embedded/embedded-postgres.ts";
import { runToEnd, startServerChild } from "../child.ts";
import { cpuSeconds } from "../cpu.ts";
import type { BareResult, BareSpec } from "./bare-loop.ts";
import { createDatabase, fillWindows } from "./database.ts";

/** What is sent in one run. */
export interface SendPlan {
  readonly sink: "v1" | "stream";
  readonly customers: number;
  /** Of each customer and meter; a report each. */
  readonly windows: number;
  readonly concurrency: number;
}

export interface SendRun {
  readonly reports: number;
  readonly reportsPerSecond: number;
  readonly bareEventsPerSecond: number;
  /** Windows frozen into reports a second, before the first was sent. */
  readonly plannedPerSecond: number;
  /** CPU time a report, microseconds, by process, once the first was settled. Empty where it cannot be read. */
  readonly cpuMicros: Readonly<Record<string, number>>;
}

const EVENT_NAMES = ["input_tokens", "output_tokens"];
const CLI = fileURLToPath(new URL("../../src/process/cli.ts", import.meta.url));
const SIMULATOR = fileURLToPath(new URL("simulator.ts", import.meta.url));
const BARE_LOOP = fileURLToPath(new URL("bare-loop.ts", import.meta.url));
const POLL_MS = 500;
/** Past the end of what the stream validates together. */
const VALIDATED_MS = 30_000;
/** Nothing settled for so long: something is broken. */
const STANDSTILL_MS = 60_000;

/** Throws where Stripe did not count just what was recorded. */
export async function runSendPath(postgres: EmbeddedPostgres, plan: SendPlan): Promise<SendRun> {
  const bareEventsPerSecond = await withSimulator(plan, async (stripePort, customers) => {
    const spec: BareSpec = {
      stripePort,
      sink: plan.sink,
      events: plan.customers * EVENT_NAMES.length * plan.windows,
      concurrency: plan.concurrency,
      customers,
      eventNames: EVENT_NAMES,
      timestampMs: Math.floor(Date.now() / 1000) * 1000 - 600_000,
    };
    const { eventsPerSecond } = JSON.parse(await runToEnd([BARE_LOOP, JSON.stringify(spec)])) as BareResult;
    await expectCounted(stripePort, spec.events);
    return eventsPerSecond;
  });
  const flushed = await withSimulator(plan, (stripePort, customers, pid) =>
    flush(postgres, plan, { stripePort, customers, pid }),
  );
  return { ...flushed, bareEventsPerSecond };
}

async function withSimulator<T>(
  plan: SendPlan,
  use: (stripePort: number, customers: readonly string[], pid: number) => Promise<T>,
): Promise<T> {
  const simulator = await startServerChild([SIMULATOR, String(plan.customers), ...EVENT_NAMES], {}, "stripePort");
  try {
    return await use(simulator.said.stripePort ?? 0, simulator.said.customers ?? [], simulator.pid);
  } finally {
    await simulator.stop();
  }
}

async function flush(
  postgres: EmbeddedPostgres,
  plan: SendPlan,
  { stripePort, customers, pid }: { stripePort: number; customers: readonly string[]; pid: number },
): Promise<Omit<SendRun, "bareEventsPerSecond">> {
  const database = await createDatabase(postgres, `bench_${plan.sink}`);
  try {
    const reports = await fillWindows(database.pool, customers, EVENT_NAMES, plan.windows, false);
    const service = await startServerChild(
      [CLI, "serve", "--roles", "flush"],
      {
        OPS_PORT: "0",
        DATABASE_URL: database.url,
        STRIPE_SECRET_KEY: "sk_test_bench",
        STRIPE_API_BASE: `http://127.0.0.1:${stripePort}`,
        STRIPE_SINK: plan.sink,
        STRIPE_CONCURRENCY: String(plan.concurrency),
        // What it can do, not what it may.
        STRIPE_EVENTS_PER_SECOND: "200000",
      },
      "opsPort",
    );
    const pids = { flush: service.pid, postgres: postgres.pid, simulator: pid };
    const cpuMicros = await cpuUntilSettled(database.pool, reports, pids).finally(() => service.stop());
    await expectCounted(stripePort, reports);
    return {
      reports,
      reportsPerSecond: await rateOf(database.pool, "settled_at"),
      plannedPerSecond: await rateOf(database.pool, "planned_at"),
      cpuMicros,
    };
  } finally {
    await database.drop();
  }
}

/** By the database's own stamps, from the first commit to the last; what the first one brought does not count. */
async function rateOf(pool: Pool, stamp: "settled_at" | "planned_at"): Promise<number> {
  const result = await pool.query<{ rate: number }>(
    `WITH commits AS (SELECT ${stamp} AS at, count(*) AS reports FROM report GROUP BY 1)
     SELECT (sum(reports) - (SELECT reports FROM commits ORDER BY at LIMIT 1)) / extract(epoch FROM max(at) - min(at))::float8 AS rate
     FROM commits`,
  );
  return result.rows[0]?.rate ?? Number.NaN;
}

/** Resolves when all reports have been taken, to what each of the last ones cost. */
async function cpuUntilSettled(
  pool: Pool,
  reports: number,
  pids: Readonly<Record<string, number>>,
): Promise<Readonly<Record<string, number>>> {
  const cpu = () => Object.entries(pids).flatMap(([name, pid]) => [[name, cpuSeconds(pid) ?? Number.NaN] as const]);
  let begun: { done: number; cpu: Map<string, number> } | undefined;
  let [last, movedMs] = [-1, performance.now()];
  for (;;) {
    const result = await pool.query<{ done: string }>(
      "SELECT count(*) AS done FROM report WHERE state IN ('sent', 'accepted')",
    );
    const done = Number(result.rows[0]?.done);
    if (done > 0) begun ??= { done, cpu: new Map(cpu()) };
    if (done >= reports) {
      const micros = cpu().map(([name, seconds]) => {
        return [name, ((seconds - (begun?.cpu.get(name) ?? 0)) * 1e6) / (done - (begun?.done ?? 0))] as const;
      });
      return Object.fromEntries(micros.filter(([, value]) => Number.isFinite(value)));
    }
    if (done !== last) movedMs = performance.now();
    last = done;
    if (performance.now() - movedMs > STANDSTILL_MS) throw new Error(`only ${done} of ${reports} reports were sent`);
    await delay(POLL_MS);
  }
}

/** Every event is one unit, so Stripe's sums tell how many it counted, each once. */
async function expectCounted(stripePort: number, events: number): Promise<void> {
  const control = `http://127.0.0.1:${stripePort}/_simulator`;
  const headers = { "content-type": "application/json" };
  await fetch(`${control}/clock`, { method: "POST", headers, body: JSON.stringify({ advance_ms: VALIDATED_MS }) });
  const { totals } = (await (await fetch(`${control}/state`)).json()) as { totals: { sum: string }[] };
  const counted = totals.reduce((sum, total) => sum + Number(total.sum), 0);
  if (counted !== events) throw new Error(`${events} events were sent, Stripe counted ${counted}`);
}
