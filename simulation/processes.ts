// The processes of a deployment, put together of production code as `serve` does, but for time: one life each, and restarts.

import { ApplyStripeEvents, STORED_EVENT_TYPES } from "../src/app/apply-stripe-events.ts";
import { closePeriods } from "../src/app/close-periods.ts";
import { FLUSH_SETTINGS, Flush, type FlushObserver } from "../src/app/flush.ts";
import { LEASE_TIMING, runWhileHeld, type Tenure } from "../src/app/hold-lease.ts";
import { leadAll, repeatedly } from "../src/app/lead.ts";
import type { Clock } from "../src/app/ports/clock.ts";
import type { Intake } from "../src/app/ports/intake.ts";
import type { Logger } from "../src/app/ports/logger.ts";
import type { MeterSink, SinkName } from "../src/app/ports/reports.ts";
import { RECONCILE_SETTINGS, Reconcile, type ReconcileObserver } from "../src/app/reconcile.ts";
import { postgresAccounts } from "../src/postgres/accounts.ts";
import { openDeployment } from "../src/postgres/deployment.ts";
import { postgresFlushRequests } from "../src/postgres/flush-requests.ts";
import { postgresIntake } from "../src/postgres/intake.ts";
import { postgresInvoicedPeriods } from "../src/postgres/invoiced-periods.ts";
import { postgresLease } from "../src/postgres/lease.ts";
import { postgresLedger } from "../src/postgres/ledger.ts";
import { postgresMeterErrors } from "../src/postgres/meter-errors.ts";
import type { Pool } from "../src/postgres/pool.ts";
import { postgresReconciliation } from "../src/postgres/reconciliation.ts";
import { postgresReports } from "../src/postgres/reports.ts";
import { postgresStripeEventInbox } from "../src/postgres/stripe-events.ts";
import { openStripe } from "../src/stripe/client.ts";
import { stripeMeterEvents } from "../src/stripe/meter-events.ts";
import { stripeMeterStream } from "../src/stripe/meter-stream.ts";
import { stripeObjects } from "../src/stripe/objects.ts";
import { stripeSummaries } from "../src/stripe/summaries.ts";
import { stripeWebhookVerifier } from "../src/stripe/webhook-verifier.ts";
import { startWebhookServer } from "../src/webhook/server.ts";
import type { Activity } from "./activity.ts";
import { CATALOG } from "./catalog.ts";
import { Life } from "./life.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import type { VirtualDatabase } from "./virtual-database.ts";
import { HOUR_MS, MINUTE_MS } from "./world.ts";

export const SHARDS = 4;
export const LEASE = "flush";
export const LEASE_TTL_MS = 24 * HOUR_MS;
export const METADATA_KEY = "metering_customer_id";
export const STRIPE_KEY = "sk_test_simulated";
export const WEBHOOK_SECRET = "whsec_simulated";
export const THIN_WEBHOOK_SECRET = "whsec_simulated_thin";
/** Between looks for work; see IDLE_MS in quarter.ts. */
const LOOK_MS = 30_000;
const RECONCILE_LAG_MS = 10 * MINUTE_MS;
const UNOBSERVED: ReconcileObserver = { compared() {}, repaired() {}, state() {} };
/** By the real clock: what the simulated network may take before a call is given up. */
const CALL_LIMIT_MS = 500;
const SEND_LIMIT_MS = 30_000;

/** What processes stand on. */
export interface Ground {
  readonly database: VirtualDatabase;
  readonly stripeUrl: URL;
  readonly sink: SinkName;
  readonly clock: VirtualClock;
  readonly activity: Activity;
  readonly logger: Logger;
  readonly observer: FlushObserver;
}

/** A process that runs. */
export interface ServiceProcess {
  readonly life: Life;
  /** Ends it in order. */
  stop(): Promise<void>;
}

interface Started {
  readonly life: Life;
  readonly pool: Pool;
}

function start({ database, activity }: Ground, name: string, onStop?: () => void): Started {
  const life = new Life(name, activity, onStop);
  const pool = database.connect(name);
  life.watch(pool);
  return { life, pool };
}

/** Campaigns for the lease; plans and sends while it leads. `onStop` hears when its doom has it stopped. */
export async function startFlushProcess(ground: Ground, name: string, onStop: () => void): Promise<ServiceProcess> {
  const { life, pool } = start(ground, name, onStop);
  const clock = life.clock(ground.clock);
  const { logger, observer } = ground;
  const { deploymentId } = await openDeployment(pool, SHARDS, "postgres");
  const context = { deploymentId, lateUsage: "current_period" } as const;
  const sink = life.port(openSink(ground, clock));
  const flush = new Flush({
    reports: postgresReports(pool, LEASE, sink.name),
    requests: postgresFlushRequests(pool, LEASE),
    sink,
    ...context,
    settings: {
      ...FLUSH_SETTINGS,
      intervalMs: 25 * MINUTE_MS,
      pollMs: LOOK_MS,
      requestsPerSecondMax: Number.POSITIVE_INFINITY,
      round: { concurrency: 8, limitMs: 30_000 },
    },
    clock,
    logger,
    observer,
  });
  const timing = { ...LEASE_TIMING, ttlMs: LEASE_TTL_MS, renewMs: 6 * HOUR_MS, retryMs: LOOK_MS };
  const holder = { lease: postgresLease(pool, LEASE), holder: name, timing, clock, logger };
  const stopping = new AbortController();
  const closing = { periods: postgresInvoicedPeriods(pool, LEASE), context, logger };
  const reconcile = new Reconcile({
    book: postgresReconciliation(pool, LEASE, RECONCILE_LAG_MS),
    summaries: life.port(stripeSummaries(openClient(ground), clock)),
    deploymentId,
    settings: {
      ...RECONCILE_SETTINGS,
      lagMs: RECONCILE_LAG_MS,
      intervalMs: HOUR_MS,
      pollMs: HOUR_MS,
      readsPerSecondMax: Number.POSITIVE_INFINITY,
    },
    clock,
    logger,
    observer: UNOBSERVED,
  });
  const works = [
    (tenure: Tenure) => flush.run(tenure),
    (tenure: Tenure) => reconcile.run(tenure),
    repeatedly({
      name: "the closing of invoiced periods",
      intervalMs: LOOK_MS,
      clock,
      logger,
      pass: (tenure) => closePeriods(closing, tenure),
    }),
  ];
  const running = runWhileHeld(holder, stopping.signal, (tenure) => leadAll(tenure, works));
  return {
    life,
    async stop() {
      stopping.abort();
      await running;
      await pool.end();
    },
  };
}

/** Takes Stripe's deliveries and applies them. */
export async function startWebhookProcess(ground: Ground, name: string, port: number): Promise<ServiceProcess> {
  const { life, pool } = start(ground, name);
  const clock = life.clock(ground.clock);
  const { logger } = ground;
  const inbox = postgresStripeEventInbox(pool);
  const worker = new ApplyStripeEvents({
    inbox,
    objects: life.port(stripeObjects(openClient(ground), logger)),
    accounts: postgresAccounts(pool, { catalog: CATALOG, shardCount: SHARDS, logger }, LEASE),
    meterErrors: postgresMeterErrors(pool, LEASE),
    onHeld: () => {},
    customerMetadataKey: METADATA_KEY,
    flushRequests: postgresFlushRequests(pool, LEASE),
    clock,
    logger,
  });
  const server = await startWebhookServer({
    host: "127.0.0.1",
    port,
    inbox,
    verifier: stripeWebhookVerifier([WEBHOOK_SECRET], clock),
    thinVerifier: stripeWebhookVerifier([THIN_WEBHOOK_SECRET], clock),
    storedTypes: STORED_EVENT_TYPES,
    bodyMaxBytes: 1_048_576,
    requestTimeoutMs: 10_000,
    connectionsMax: 100,
    onStored: () => worker.wake(),
    onDelivery: () => {},
    logger,
  });
  // Its port is closed by its death as well; what was half answered is cut.
  void life.died.then(() => server.close(0));
  const stopping = new AbortController();
  const running = worker.run(stopping.signal);
  return {
    life,
    async stop() {
      stopping.abort();
      await Promise.all([running, server.close(1_000)]);
      await pool.end();
    },
  };
}

/** Takes records. */
export async function startIntakeProcess(
  ground: Ground,
  name: string,
): Promise<ServiceProcess & { readonly intake: Intake }> {
  const { life, pool } = start(ground, name);
  const onFailure = (err: unknown) => ground.logger.error({ err }, "the intake failed");
  const intake = postgresIntake(postgresLedger(pool, CATALOG, SHARDS), {
    maxBatch: 1_000,
    maxWaiting: 10_000,
    onFailure,
  });
  return { life, intake, stop: () => pool.end() };
}

function openSink(ground: Ground, clock: Clock): MeterSink {
  const stripe = openClient(ground);
  return ground.sink === "v1"
    ? stripeMeterEvents(stripe, SEND_LIMIT_MS)
    : stripeMeterStream(stripe, clock, SEND_LIMIT_MS);
}

/** The client as in production, but that it tries reads again at once: its pauses are on the real clock. */
function openClient({ stripeUrl }: Ground): ReturnType<typeof openStripe> {
  const stripe = openStripe({ secretKey: STRIPE_KEY, apiBase: stripeUrl, maxSockets: 64, timeoutMs: CALL_LIMIT_MS });
  Reflect.set(stripe, "getInitialNetworkRetryDelay", () => 0.001);
  Reflect.set(stripe, "getMaxNetworkRetryDelay", () => 0.001);
  return stripe;
}
