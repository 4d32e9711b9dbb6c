// A quarter of billing: one deployment, one simulated Stripe account, one world. Everything on virtual time.
import type { SinkName } from "../src/app/ports/reports.ts";
import type { StripeSimulator } from "../src/stripe-simulator/server.ts";
import { Cast } from "./cast.ts";
import { judge, type Verdict } from "./checks.ts";
import { withHistories } from "./history.ts";
import { readLedger } from "./ledger-reading.ts";
import { Operator } from "./operator.ts";
import { Oracle } from "./oracle.ts";
import { Scene } from "./scene.ts";
import { SimulatedAccount } from "./simulated-account.ts";
import { readStripe } from "./stripe-reading.ts";
import { drawWeather, happenings } from "./weather.ts";
import { DAY_MS, type World } from "./world.ts";

/** What a quarter came to. */
export interface QuarterResult {
  /** What does not add up, each with a short history. */
  readonly violations: readonly string[];
  readonly fates: Verdict["fates"];
  readonly steps: number;
  readonly wallMs: number;
  readonly virtualMs: number;
  /** Recorded once each; acknowledged again; refused as others under a used key; taken back. */
  readonly records: Readonly<Record<"recorded" | "duplicates" | "refused" | "voided", number>>;
  /** By kind, state, and why they are held. */
  readonly reports: Readonly<Record<string, number>>;
  readonly drifts: Readonly<Record<string, number>>;
  readonly invoices: number;
  readonly troubles: Readonly<Record<"faults" | "deaths" | "stops" | "retriedByOperator", number>>;
  /** Stripe's, by route and status. */
  readonly answers: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Attempts, by the service's answer. */
  readonly webhooks: Readonly<Record<string, number>>;
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

/** Plays it from the first record to the last report, and judges what came of it. Rejects when the simulation itself fails. */
export async function playQuarter(options: QuarterOptions): Promise<QuarterResult> {
  const { seed, world, sink, calm, onDay } = options;
  const startedMs = performance.now();
  const weather = calm ? undefined : drawWeather(seed, sink, world);
  const scene = await Scene.open(options, weather?.settings);
  const { simulator, deployment, timeline, stage, clock, notebook, database } = scene;
  try {
    await deployment.start();
    const account = await SimulatedAccount.create(simulator);
    const oracle = new Oracle();
    const operator = new Operator(database.connect("operator"), notebook.logger);
    const cast = new Cast({ world, account, deployment, oracle, timeline, clock, operator });
    await cast.enter();
    if (weather !== undefined) timeline.putAll(happenings(weather, world.endMs, simulator, deployment));
    for (let dayMs = world.startMs; dayMs < world.endMs; dayMs += DAY_MS) {
      onDay((dayMs - world.startMs) / (world.endMs - world.startMs), new Date(dayMs).toISOString().slice(0, 10));
      await stage.playUntil(Math.min(dayMs + DAY_MS, world.endMs));
    }
    await stage.playUntil(world.endMs + SETTLING_MS);
    await deployment.stop();
    await operator.close();
    const ledger = await readLedger(database.admin);
    const stripe = readStripe(simulator, (id) => account.eventNameOf(id));
    const verdict = judge({ customers: cast.known, oracle, ledger, stripe });
    const { deaths, stops } = deployment;
    return {
      violations: [...withHistories(verdict.violations, ledger, stripe), ...(calm ? calmProblems(verdict.fates) : [])],
      fates: verdict.fates,
      steps: stage.steps,
      wallMs: Math.round(performance.now() - startedMs),
      virtualMs: clock.nowMs() - world.startMs,
      records: { recorded: oracle.records, ...cast.counts },
      reports: countsOf(ledger.reports, ({ kind, state, reason }) => `${kind} ${state} ${reason}`.trim()),
      drifts: countsOf(ledger.drifts, ({ what }) => what),
      troubles: { faults: simulator.state().faults.struck, deaths, stops, retriedByOperator: operator.retried },
      log: notebook.counts,
      ...stripeCounts(simulator),
    };
  } finally {
    await scene.close();
  }
}

function stripeCounts(simulator: StripeSimulator): Pick<QuarterResult, "invoices" | "answers" | "webhooks"> {
  const { invoices, answered } = simulator.state();
  return {
    invoices: invoices.length,
    answers: answered,
    webhooks: countsOf(simulator.deliveryAttempts, ({ status }) => String(status ?? "no answer")),
  };
}

/** Where nothing goes wrong, nothing is late, held or waits: each invoice bills just what was used in its period. */
function calmProblems(fates: Verdict["fates"]): string[] {
  return Object.entries(fates).flatMap(([eventName, { late, held, waiting }]) => {
    if (late === 0n && held === 0n && waiting === 0n) return [];
    return [`${eventName}: although nothing went wrong, ${late} is late, ${held} is held, ${waiting} waits`];
  });
}

function countsOf<T>(rows: readonly T[], nameOf: (row: T) => string): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(rows, nameOf)].map(([name, group]) => [name, group.length]));
}
