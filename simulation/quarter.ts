// A quarter of billing: one deployment, one simulated Stripe account, one world. Everything on virtual time.
import type { SinkName } from "../src/app/ports/reports.ts";
import type { FlushObserver } from "../src/app/flush.ts";
import { freePort } from "../src/process/embedded/free-port.ts";
import { startStripeSimulator } from "../src/stripe-simulator/server.ts";
import { THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../src/webhook/app.ts";
import { CATALOG } from "./catalog.ts";
import { Activity } from "./activity.ts";
import { Cast } from "./cast.ts";
import { judge, type Verdict } from "./checks.ts";
import { withHistories } from "./history.ts";
import { Deployment } from "./deployment.ts";
import { readLedger } from "./ledger-reading.ts";
import { Notebook } from "./notebook.ts";
import { Oracle } from "./oracle.ts";
import { LEASE_TTL_MS, SHARDS, THIN_WEBHOOK_SECRET, WEBHOOK_SECRET } from "./processes.ts";
import { Random } from "./random.ts";
import { SimulatedAccount } from "./simulated-account.ts";
import { Stage } from "./stage.ts";
import { readStripe } from "./stripe-reading.ts";
import { Timeline } from "./timeline.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { VirtualDatabase } from "./virtual-database.ts";
import { drawWeather, happenings } from "./weather.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, type World } from "./world.ts";

/** What a quarter came to. */
export interface QuarterResult {
  /** What does not add up, each with a short history. */
  readonly violations: readonly string[];
  readonly fates: Verdict["fates"];
  readonly steps: number;
  readonly wallMs: number;
  readonly virtualMs: number;
  readonly records: { readonly recorded: number; readonly duplicates: number; readonly refused: number };
  /** By kind, state, and why they are held. */
  readonly reports: Readonly<Record<string, number>>;
  readonly drifts: Readonly<Record<string, number>>;
  readonly invoices: number;
  readonly deaths: number;
  readonly stops: number;
  readonly faultsStruck: number;
  readonly webhookAttempts: Readonly<Record<string, number>>;
  /** Log lines by message, warnings and errors alone. */
  readonly log: Readonly<Record<string, number>>;
}

export interface QuarterOptions {
  readonly seed: number;
  readonly world: World;
  readonly sink: SinkName;
  /** Nothing goes wrong. */
  readonly calm: boolean;
  /** Hears once a virtual day which share of the quarter is over. */
  readonly onDay: (share: number, date: string) => void;
  /** Of an empty database. */
  readonly databaseUrl: string;
}

/** Without faults and arrivals, everything must come to its end in this time. */
const SETTLING_MS = 4 * DAY_MS;
/** Loops that only look for work may be so late; every happening wakes them as well. */
const IDLE_MS = 90 * MINUTE_MS;
/** A sleep up to this long is one of a loop that looks for work, unless it is one of pacing. */
const LOOK_MS_MAX = HOUR_MS;
const PACE_MS_MAX = 400;
const BUSY_MACHINE_MS = 60_000;

export async function playQuarter({
  seed,
  world,
  sink,
  calm,
  databaseUrl,
  onDay,
}: QuarterOptions): Promise<QuarterResult> {
  const startedMs = performance.now();
  const activity = new Activity();
  const clock = new VirtualClock(world.startMs, (delayMs) =>
    delayMs > PACE_MS_MAX && delayMs <= LOOK_MS_MAX ? IDLE_MS : 0,
  );
  const database = await VirtualDatabase.create(databaseUrl, world.startMs);
  const webhookPort = await freePort();
  const webhooks = `http://127.0.0.1:${webhookPort}`;
  const weather = calm ? undefined : drawWeather(seed, sink, world);
  const simulator = await startStripeSimulator({
    seed: `${seed} ${sink}`,
    clock: () => clock.nowMs(),
    webhookEndpoints: [
      { url: `${webhooks}${WEBHOOK_PATH}`, secret: WEBHOOK_SECRET },
      { url: `${webhooks}${THIN_WEBHOOK_PATH}`, secret: THIN_WEBHOOK_SECRET, payload: "thin" },
    ],
    settings: weather?.settings,
    webhookRetryMs: MINUTE_MS,
    webhookTimeoutMs: BUSY_MACHINE_MS,
  });
  const timeline = new Timeline();
  const notebook = new Notebook();
  const oracle = new Oracle();
  const random = new Random(seed, `processes ${sink}`);
  const ground = {
    database,
    stripeUrl: new URL(simulator.url),
    sink,
    clock,
    activity,
    logger: notebook.logger,
    observer: SILENT,
  };
  const awayMs = () => Math.round(random.spread(MINUTE_MS, 3 * HOUR_MS));
  const stoppedMs = () => LEASE_TTL_MS + random.whole(HOUR_MS, DAY_MS);
  const deployment = new Deployment({ ground, timeline, webhookPort, awayMs, stoppedMs });
  const stage = new Stage({ clock, activity, timeline, simulator, database });
  try {
    await deployment.start();
    const account = await SimulatedAccount.create(simulator);
    const recut = { catalog: CATALOG, shardCount: SHARDS, logger: notebook.logger };
    const operator = database.connect("operator");
    const cast = new Cast({ world, account, deployment, oracle, timeline, clock, operator, recut });
    await cast.enter();
    if (weather !== undefined) timeline.putAll(happenings(weather, world.endMs, simulator, deployment));
    for (let dayMs = world.startMs; dayMs < world.endMs; dayMs += DAY_MS) {
      onDay((dayMs - world.startMs) / (world.endMs - world.startMs), new Date(dayMs).toISOString().slice(0, 10));
      await stage.playUntil(Math.min(dayMs + DAY_MS, world.endMs));
    }
    await stage.playUntil(world.endMs + SETTLING_MS);
    await deployment.stop();
    await operator.end();
    const ledger = await readLedger(database.admin);
    const stripe = readStripe(simulator, (id) => account.eventNameOf(id));
    const verdict = judge({ customers: cast.known, oracle, ledger, stripe });
    return {
      violations: withHistories(verdict.violations, ledger, stripe),
      fates: verdict.fates,
      steps: stage.steps,
      wallMs: Math.round(performance.now() - startedMs),
      virtualMs: clock.nowMs() - world.startMs,
      records: { recorded: oracle.records, duplicates: cast.duplicates, refused: cast.refused },
      reports: countsOf(ledger.reports, ({ kind, state, reason }) => `${kind} ${state} ${reason}`.trim()),
      drifts: countsOf(ledger.drifts, ({ what }) => what),
      invoices: simulator.state().invoices.length,
      deaths: deployment.deaths,
      stops: deployment.stops,
      faultsStruck: simulator.state().faults.struck,
      webhookAttempts: countsOf(simulator.deliveryAttempts, ({ status }) => String(status ?? "no answer")),
      log: notebook.counts,
    };
  } finally {
    await simulator.close();
    await database.close();
    activity.close();
  }
}

const SILENT: FlushObserver = { planned() {}, sent() {}, held() {}, backlog() {} };

function countsOf<T>(rows: readonly T[], nameOf: (row: T) => string): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(rows, nameOf)].map(([name, group]) => [name, group.length]));
}
