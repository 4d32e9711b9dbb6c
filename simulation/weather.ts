// Everything that goes wrong, drawn from the seed: what Stripe answers, how its webhooks come, which process dies when.
import type { Fault } from "../src/stripe-simulator/control/faults.ts";
import type { StripeSimulator } from "../src/stripe-simulator/server.ts";
import type { SettingsChange } from "../src/stripe-simulator/state/settings.ts";
import type { ConductChange } from "../src/stripe-simulator/webhooks/delivery-conduct.ts";
import type { Deployment, Role } from "./deployment.ts";
import type { Doom } from "./life.ts";
import { Random } from "./random.ts";
import type { Happening } from "./timeline.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, type World } from "./world.ts";

const EVENTS = ["POST /v1/billing/meter_events", "POST /v2/billing/meter_event_stream"];
const WRITES = [...EVENTS, "POST /v2/billing/meter_event_session", "POST /v1/billing/meter_event_adjustments"];
const READS = [
  "GET /v2/core/events/:id",
  "GET /v1/invoices/:id/lines",
  "GET /v1/subscriptions/:id",
  "GET /v1/invoices/:id",
  "GET /v1/billing/meters",
  "GET /v1/billing/meters/:id/event_summaries",
];

/** Longer than a call's limit, by the real clock. */
const SLOW_MS = 700;
const FLUSH_ROLES = ["leader", "standby"] as const;
const ROLES: readonly Role[] = ["leader", "standby", "webhooks", "intake"];

export interface Weather {
  readonly settings: SettingsChange;
  /** Faults in force whenever there is no outage. */
  readonly faults: readonly Fault[];
  /** Stripe is away, from and until. */
  readonly outages: readonly { readonly fromMs: number; readonly untilMs: number; readonly faults: readonly Fault[] }[];
  readonly webhooks: readonly WebhookEpisode[];
  readonly dooms: readonly (Doom & { readonly atMs: number; readonly role: Role })[];
}

interface WebhookEpisode {
  readonly fromMs: number;
  readonly untilMs: number;
  /** Held back and let go in this order, or sent so many times each. */
  readonly kind: { readonly heldUntil: "created" | "reversed" | "shuffled" } | ConductChange;
}

export function drawWeather(seed: number, name: string, world: World): Weather {
  const random = new Random(seed, `weather ${name}`);
  const within = (lastMs: number) => world.startMs + random.whole(HOUR_MS, world.endMs - world.startMs - lastMs);
  const renewals = world.customers.map(({ subscribing }) => subscribing.anchorMs);
  return {
    settings: {
      summaryDelayMaxMs: Math.round(random.spread(SECOND_MS, 8 * MINUTE_MS)),
      errorReportDelayMs: Math.round(random.spread(2 * SECOND_MS, 12 * HOUR_MS)),
      validationDelayMs: Math.round(random.spread(SECOND_MS, 3 * MINUTE_MS)),
      errorSamplesMax: random.whole(0, 5),
      rejectedIdentifierKept: random.chance(0.5),
      twinEventRate: random.unit() * 0.2,
      invoiceGraceMs: random.pick([HOUR_MS, HOUR_MS, HOUR_MS, 3 * HOUR_MS, 24 * HOUR_MS]),
    },
    faults: [
      ...WRITES.flatMap((route) => writeFaults(random, route)),
      ...EVENTS.flatMap((route) => eventFaults(random, route)),
      { route: "POST /v2/billing/meter_event_stream", kind: "session_expired", rate: random.spread(0.01, 0.1) },
      ...READS.flatMap((route) => readFaults(random, route)),
    ],
    outages: random.chance(0.4) ? [drawOutage(random, within(3 * DAY_MS))] : [],
    webhooks: Array.from({ length: random.whole(2, 6) }, () => drawEpisode(random, within(3 * DAY_MS))),
    dooms: [
      ...Array.from({ length: random.whole(4, 12) }, () => ({ ...drawDoom(random), role: random.pick(ROLES) })),
      // Any of the two may be the leader.
      ...FLUSH_ROLES.map((role) => ({ ...drawDoom(random), role, fate: "stop" as const })),
    ].map((doom) => {
      // Half of them when there is most to do.
      return { ...doom, atMs: random.chance(0.5) ? random.pick(renewals) : within(0) };
    }),
  };
}

function drawDoom(random: Random): Doom {
  return { fate: "death", callsLeft: random.whole(0, 80), strikes: random.pick(["before", "after"] as const) };
}

function writeFaults(random: Random, route: string): Fault[] {
  const some = (most: number) => random.spread(0.001, most);
  const strike = (fault: Omit<Fault, "route" | "rate">, most = 0.04): Fault => ({ route, rate: some(most), ...fault });
  return [
    strike({ kind: "rate_limited", reason: "endpoint-rate" }),
    strike({ kind: "rate_limited", shouldRetry: true }),
    strike({ kind: "lock_timeout" }),
    strike({ kind: "conflict" }),
    strike({ kind: "server_error", processed: true }),
    strike({ kind: "server_error", processed: false, status: 503 }),
    strike({ kind: "bad_gateway", processed: true }),
    strike({ kind: "bad_gateway" }),
    strike({ kind: "reset_before" }),
    strike({ kind: "reset_after" }),
    strike({ kind: "truncated" }),
    // These cost real time.
    strike({ kind: "slow_answer", delayMs: SLOW_MS }, 0.003),
    strike({ kind: "slow_processing", delayMs: SLOW_MS }, 0.003),
  ];
}

/** Taken, and then not counted; or a failure that is given again under the key, until the key is forgotten. */
function eventFaults(random: Random, route: string): Fault[] {
  const strike = (fault: Omit<Fault, "route" | "rate">): Fault => ({
    route,
    rate: random.spread(0.001, 0.01),
    ...fault,
  });
  return [
    strike({ kind: "server_error", processed: true, saved: true }),
    strike({ kind: "server_error", processed: false, saved: true }),
    strike({ kind: "dropped", events: 1 }),
    strike({ kind: "dropped", burnt: true, events: 2 }),
    strike({ kind: "rejected", code: "archived_meter", events: 1 }),
  ];
}

function readFaults(random: Random, route: string): Fault[] {
  const strike = (fault: Omit<Fault, "route" | "rate">): Fault => ({
    route,
    rate: random.spread(0.001, 0.04),
    ...fault,
  });
  return [
    strike({ kind: "rate_limited", reason: "global-rate" }),
    strike({ kind: "server_error" }),
    strike({ kind: "bad_gateway" }),
    strike({ kind: "reset_before" }),
    strike({ kind: "truncated" }),
  ];
}

/** Long enough to pass the horizon within which a report may be sent again. */
function drawOutage(random: Random, fromMs: number): Weather["outages"][number] {
  const untilMs = fromMs + random.whole(20 * HOUR_MS, 30 * HOUR_MS);
  const processed = random.chance(0.3);
  const faults = [...WRITES, ...READS].map((route): Fault => ({ route, kind: "bad_gateway", processed }));
  return { fromMs, untilMs, faults };
}

function drawEpisode(random: Random, fromMs: number): WebhookEpisode {
  if (random.chance(0.5)) {
    return { fromMs, untilMs: fromMs + random.whole(HOUR_MS, 10 * DAY_MS), kind: { copies: random.whole(2, 3) } };
  }
  const heldUntil = random.pick(["created", "reversed", "shuffled"] as const);
  return { fromMs, untilMs: fromMs + random.whole(MINUTE_MS, 30 * HOUR_MS), kind: { heldUntil } };
}

/** The weather as happenings; it clears up at `untilMs` for good. */
export function happenings(
  weather: Weather,
  untilMs: number,
  simulator: StripeSimulator,
  deployment: Deployment,
): Happening[] {
  const settled: Happening[] = [];
  const at = (atMs: number, run: () => void | Promise<void>) => settled.push({ atMs, run: async () => run() });
  const setFaults = (faults: readonly Fault[]) => {
    simulator.clearFaults();
    for (const fault of faults) simulator.addFault(fault);
  };
  at(0, () => setFaults(weather.faults));
  // Stripe refuses events of one customer and meter side by side: for a moment each is under way.
  at(0, () => simulator.setMeterConcurrency({ enabled: true, holdMs: 1 }));
  for (const { fromMs, untilMs: endMs, faults } of weather.outages) {
    at(fromMs, () => setFaults(faults));
    at(endMs, () => setFaults(weather.faults));
  }
  for (const { fromMs, untilMs: endMs, kind } of weather.webhooks) {
    at(fromMs, () => simulator.configureWebhooks("heldUntil" in kind ? { hold: true } : kind));
    at(endMs, async () => {
      if ("heldUntil" in kind) await simulator.releaseWebhooks(kind.heldUntil);
      else simulator.configureWebhooks({ copies: 1, delayRate: 0, failureRate: 0 });
    });
  }
  for (const { atMs, role, ...doom } of weather.dooms) {
    at(atMs, () => deployment.doom(role, doom));
  }
  at(untilMs, () => setFaults([]));
  return settled;
}
