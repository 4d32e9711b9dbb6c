// One run: everything is brought up, everything goes wrong, everything settles, everything is counted.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { Oracle } from "../simulation/core/oracle.ts";
import { Random } from "../simulation/random.ts";
import { type Deployment, deploy } from "./deployment.ts";
import { type Evidence, gather } from "./evidence.ts";
import { Injector } from "./faults.ts";
import { historyOf } from "./history.ts";
import { LeaseWatch } from "./lease-watch.ts";
import { checkLedger } from "./ledger-checks.ts";
import { checkMoney, type StripeEvent } from "./money-checks.ts";
import { countByKind, type Outcome, recoveries, spreadOf, takeovers } from "./outcome.ts";
import { metering } from "./program.ts";
import { comeToRest } from "./settle.ts";
import { CLIENTS, drawTimeline, type FaultKind, SERVICES } from "./timeline.ts";
import { LiveWatch, ReadWatch, readTotals } from "./watchers.ts";

export interface RunOptions {
  readonly seed: number;
  readonly minutes: number;
  readonly commit: string;
  /** Kinds of faults that do not strike. */
  readonly leftOut: readonly FaultKind[];
  /** Stores, logs and journals; made by the caller. */
  readonly dir: string;
  readonly tell: (line: string) => void;
}

/** Clients send for so long before the first fault, so that there is something to lose. */
const HEAD_START_MS = 3_000;
/** Bounds of the quiet phase; a slow machine stays far below. */
const READY_LIMIT_MS = 120_000;
const CLIENTS_LIMIT_MS = 180_000;
const SETTLE_LIMIT_MS = 900_000;
const CAUGHT_UP_LIMIT_MS = 60_000;
const DAY_MS = 86_400_000;
const QUARTER_HOUR_MS = 900_000;
/** Violations that are told with their history. */
const HISTORIES_MAX = 5;

export async function run(options: RunOptions): Promise<Outcome> {
  const startMs = Date.now();
  const { seed, minutes, dir, tell } = options;
  const lengthMs = minutes * 60_000;
  const sink = new Random(seed, "sink").chance(0.5) ? "v1" : "stream";
  const oracle = new Oracle(() => {});
  tell(`seed ${seed}, commit ${options.commit}, sink ${sink}: bringing up stores and processes in ${dir}`);
  const deployment = await deploy({ dir, seed, lengthMs, sink });
  try {
    const watch = startWatching(deployment, oracle, startMs);
    for (const name of CLIENTS) deployment.program(name).start();
    await delay(HEAD_START_MS);

    const since = Date.now();
    const say = (line: string) => tell(`${((Date.now() - since) / 1_000).toFixed(1).padStart(7)} s  ${line}`);
    const onFailure = (message: string) => oracle.fail("recovery", message);
    const injector = new Injector({ deployment, lease: watch.lease, onEvent: say, onFailure });
    const timeline = drawTimeline(new Random(seed, "timeline"), lengthMs, options.leftOut);
    const [notReached] = await Promise.all([injector.run(timeline, lengthMs), delay(lengthMs)]);

    say("all faults are over: everything has to settle");
    const quietMs = Date.now();
    const asOfMs = await becomeQuiet(deployment, oracle, quietMs, say);
    const settledMs = Date.now();
    await watch.stop();

    say("counting");
    const evidence = gather(deployment.journals, oracle);
    const { readings } = watch.reads;
    const ledger = await checkLedger({ pool: deployment.pool, oracle, evidence, wipesMs: injector.wipesMs, readings });
    const money = await countMoney(deployment, oracle, asOfMs);
    await verify(deployment, oracle);
    checkAnswers(evidence, oracle);
    for (const { name, crashes } of deployment.programs.values())
      for (const { atMs, how } of crashes)
        oracle.fail("crash", `at ${new Date(atMs).toISOString()} ${name} ended by itself: ${how}`);

    const sources = { evidence, faults: injector.done, tenures: watch.lease.tenures, logDir: join(dir, "logs") };
    const { sent, acknowledged, duplicates, reused, unknown, unanswered } = evidence;
    return {
      seed,
      commit: options.commit,
      minutes,
      sink,
      faults: { total: injector.done.length, notReached, byKind: countByKind(injector.done) },
      deliveries: { sent, acknowledged, duplicates, reused, unknown, unanswered },
      records: { ...ledger, gaps: ledger.gaps.length },
      money,
      recovery: spreadOf(recoveries(injector.done, evidence.answers)),
      takeover: spreadOf(takeovers(injector.done, watch.lease.tenures)),
      leaders: watch.lease.tenures.length,
      reads: watch.counts(),
      settledAfterS: Math.round((settledMs - quietMs) / 1_000),
      seconds: Math.round((Date.now() - startMs) / 1_000),
      violations: oracle.violations.map((violation, i) => ({
        ...violation,
        history: i < HISTORIES_MAX ? historyOf(violation, sources) : [],
      })),
    };
  } finally {
    await deployment.close();
  }
}

/** Everything that looks on. */
function startWatching(deployment: Deployment, oracle: Oracle, startMs: number) {
  const lease = new LeaseWatch(deployment.pool, (message) => oracle.fail("one leader", message));
  const onViolation = (message: string, customerId: string) =>
    oracle.fail("never back", `${new Date().toISOString()} ${message}`, customerId);
  const dayMs = Math.floor(startMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
  const customerIds = deployment.payers.map(({ customerId }) => customerId);
  const watched = {
    apiTargets: deployment.apiTargets,
    customerIds,
    interval: { startMs: dayMs - DAY_MS, endMs: dayMs + DAY_MS },
    onViolation,
  };
  const reads = new ReadWatch(watched);
  const lives = customerIds.map((customerId) => new LiveWatch(watched, customerId));
  for (const one of [lease, reads, ...lives]) one.start();
  return {
    lease,
    reads,
    lives,
    /** The last that was told live is what can be read. */
    async stop() {
      for (const live of lives) await agree(live, deployment.apiTargets, oracle);
      for (const one of [lease, reads, ...lives]) await one.stop();
    },
    counts() {
      const sum = (of: (live: LiveWatch) => number) => lives.reduce((total, live) => total + of(live), 0);
      const live = { liveEvents: sum(({ events }) => events), reconnects: sum(({ reconnects }) => reconnects) };
      return { answered: reads.readings.length, unanswered: reads.failures, ...live };
    },
  };
}

async function agree(live: LiveWatch, targets: readonly string[], oracle: Oracle): Promise<void> {
  const untilMs = Date.now() + CAUGHT_UP_LIMIT_MS;
  for (;;) {
    const told = toText(live.totals);
    const read = await Promise.all(targets.map((target) => readTotals(target, live.customerId).catch(noAnswer)));
    if (read.every((totals) => toText(totals) === told)) return;
    if (Date.now() > untilMs) {
      const reads = read.map(toText).join(" and ");
      oracle.fail("live", `StreamUsage of ${live.customerId} told last ${told}, GetUsage ${reads}`, live.customerId);
      return;
    }
    await delay(500);
  }
}

/** A call may fail on a busy machine; the next does not. */
function noAnswer(cause: unknown): ReadonlyMap<string, bigint> {
  return new Map([[`no answer (${String(cause)})`, 0n]]);
}

function toText(totals: ReadonlyMap<string, bigint>): string {
  return [...totals]
    .map(([meter, quantity]) => `${meter} ${quantity}`)
    .sort()
    .join(", ");
}

/**
 * Processes are up again, clients get their last answers, and everything is brought to Stripe and compared. Returns as of when; nothing moves
 * any more then.
 */
async function becomeQuiet(
  deployment: Deployment,
  oracle: Oracle,
  quietMs: number,
  say: (line: string) => void,
): Promise<number> {
  await deployment.control("DELETE", "faults");
  for (const name of [...SERVICES, "stripe"] as const)
    await deployment
      .program(name)
      .untilReady(READY_LIMIT_MS)
      .catch((cause: unknown) => oracle.fail("recovery", String(cause)));
  const codes = await Promise.all(CLIENTS.map((name) => deployment.program(name).stop("SIGTERM", CLIENTS_LIMIT_MS)));
  if (codes.some((code) => code !== 0))
    oracle.fail("liveness", `clients were not answered within ${CLIENTS_LIMIT_MS / 1_000} s, or ended with ${codes}`);
  const answeredMs = Date.now();
  say(`clients have all their answers ${((answeredMs - quietMs) / 1_000).toFixed(1)} s after the last fault`);
  // Takes the minutes along that are not over.
  const { exitCode, output } = await command(deployment, "flush");
  if (exitCode !== 0) oracle.fail("liveness", `metering flush: exit code ${exitCode}: ${output}`);
  const { left, asOfMs } = await comeToRest(deployment, answeredMs, SETTLE_LIMIT_MS, say);
  if (left !== "") oracle.fail("liveness", `not settled after ${SETTLE_LIMIT_MS / 1_000} s: ${left}`);
  return asOfMs;
}

async function countMoney(deployment: Deployment, oracle: Oracle, asOfMs: number) {
  const { data } = (await deployment.control("GET", "meter_events")) as { data: readonly StripeEvent[] };
  const { totals, asynchronous } = (await deployment.control("GET", "state")) as {
    totals: readonly { readonly customer: string; readonly event_name: string; readonly sum: string }[];
    asynchronous: { readonly dropped: number; readonly rejected: number };
  };
  const thrownAway = asynchronous.dropped + asynchronous.rejected;
  return checkMoney({ pool: deployment.pool, oracle, events: data, totals, thrownAway, nowMs: asOfMs });
}

/** `metering verify` sums everything anew from raw records, with the service's own code. */
async function verify(deployment: Deployment, oracle: Oracle): Promise<void> {
  const { exitCode, output } = await command(deployment, "verify");
  if (exitCode !== 0) oracle.fail("verify", `metering verify: exit code ${exitCode}: ${output.slice(0, 2_000)}`);
}

/** What clients were told must be what a good client may be told. */
function checkAnswers({ odd, refusedForNothing }: Evidence, oracle: Oracle): void {
  for (const { told, account, atMs } of odd)
    oracle.fail(
      "answers",
      `at ${new Date(atMs).toISOString()} ${account.identity} was refused: ${told}`,
      account.identity,
    );
  for (const { account, atMs } of refusedForNothing) {
    const when = new Date(atMs).toISOString();
    const message = `at ${when} ${account.identity} was refused as contradicting a record that nobody sent`;
    oracle.fail("answers", message, account.identity);
  }
}

async function command(deployment: Deployment, ...args: string[]): Promise<{ exitCode: number; output: string }> {
  const { PATH = "", HOME = "" } = process.env;
  const env = { PATH, HOME, ...deployment.environment };
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [...metering(...args)], {
      env,
      maxBuffer: 1e8,
    });
    return { exitCode: 0, output: stdout + stderr };
  } catch (cause) {
    const { code, stdout = "", stderr = "" } = cause as { code?: unknown; stdout?: string; stderr?: string };
    return { exitCode: typeof code === "number" ? code : -1, output: stdout + stderr };
  }
}
