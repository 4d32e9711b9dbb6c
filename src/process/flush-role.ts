// The role "flush": campaigns for the lease and, while it holds it, reports to Stripe and keeps the partitions.
import { hostname } from "node:os";
import { closePeriods } from "../app/close-periods.ts";
import { compareLimits } from "../app/compare-limits.ts";
import { FLUSH_SETTINGS, Flush } from "../app/flush.ts";
import { LEASE_TIMING, type LeaseHolderOptions, runWhileHeld, type Tenure } from "../app/hold-lease.ts";
import { leadAll, repeatedly } from "../app/lead.ts";
import type { FlushRequests, MeterSink, Reports } from "../app/ports/reports.ts";
import { forgetActivity } from "../postgres/activity.ts";
import { forgetDeletedKeys } from "../postgres/api-keys.ts";
import { postgresFlushRequests } from "../postgres/flush-requests.ts";
import { postgresInvoicedPeriods } from "../postgres/invoiced-periods.ts";
import { postgresLease } from "../postgres/lease.ts";
import { postgresLimitLedger } from "../postgres/limit-ledger.ts";
import { databaseNowMs, maintainPartitions } from "../postgres/partitions.ts";
import { prune, prunedBefore } from "../postgres/prune.ts";
import { postgresReports } from "../postgres/reports.ts";
import { openStripe } from "../stripe/client.ts";
import { stripeMeterEvents } from "../stripe/meter-events.ts";
import { stripeMeterStream } from "../stripe/meter-stream.ts";
import { eventsPerSecondMax } from "../stripe/rate-limits.ts";
import { startLoop } from "./background.ts";
import { type Config, isSandbox } from "./config/parse-config.ts";
import type { Foundation } from "./foundation.ts";
import { comparingIntakeLimits } from "./intake-limits.ts";
import type { Closers } from "./lifecycle.ts";
import { OperatorError } from "./operator-error.ts";
import { createReconcile } from "./reconcile-role.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

/** Name of the one lease. */
export const FLUSH_LEASE = "flush";

/** A pass reads up to 100,000 raw records. */
const LIMITS_INTERVAL_MS = 300_000;
const MAINTENANCE_INTERVAL_MS = 3_600_000;
/** One send; the SDK's own timeout is below. */
const SEND_LIMIT_MS = 30_000;

/** A flush and what it stands on; also what `metering flush` runs when nobody leads. */
export interface FlushParts {
  readonly flush: Flush;
  readonly reports: Reports;
  readonly requests: FlushRequests;
  readonly holder: LeaseHolderOptions;
}

export function createFlush(
  foundation: Pick<Foundation, "config" | "pool" | "deployment" | "processId" | "logger" | "metrics"> &
    Partial<Pick<Foundation, "tracing">>,
): FlushParts {
  const { config, pool, deployment, processId, logger, metrics, tracing } = foundation;
  const sink = openSink(config);
  const eventsPerSecond = config.stripeEventsPerSecond ?? eventsPerSecondMax(sink, !isSandbox(config));
  const reports = postgresReports(pool, FLUSH_LEASE, sink.name);
  const requests = postgresFlushRequests(pool, FLUSH_LEASE);
  const flush = new Flush({
    reports,
    requests,
    sink,
    deploymentId: deployment.deploymentId,
    lateUsage: config.lateUsage,
    settings: {
      ...FLUSH_SETTINGS,
      intervalMs: config.flushIntervalMs,
      // A request costs the same however full it is.
      requestsPerSecondMax: eventsPerSecond / sink.batchMax,
      round: { concurrency: config.stripeConcurrency, limitMs: SEND_LIMIT_MS },
    },
    clock: SYSTEM_CLOCK,
    logger,
    observer: metrics.flush,
    tracing,
  });
  const timing = { ...LEASE_TIMING, ttlMs: config.leaseTtlMs, renewMs: config.leaseRenewMs };
  const lease = postgresLease(pool, FLUSH_LEASE);
  const holder = { lease, holder: `${hostname()} ${processId}`, timing, clock: SYSTEM_CLOCK, logger };
  return { flush, reports, requests, holder };
}

export async function startFlush(foundation: Foundation, closers: Closers): Promise<void> {
  const { config, pool, deployment, logger, metrics } = foundation;
  const { flush, holder } = createFlush(foundation);
  const { reconcile } = createReconcile(foundation, openStripeOf(config), FLUSH_LEASE);
  const context = { deploymentId: deployment.deploymentId, lateUsage: config.lateUsage };
  const closing = { periods: postgresInvoicedPeriods(pool, FLUSH_LEASE), context, logger };
  const limits = {
    ledger: postgresLimitLedger(pool, foundation.catalog, deployment.shardCount),
    clock: SYSTEM_CLOCK,
    logger,
    onDrift: metrics.limitDrift,
  };
  const works = [
    (tenure: Tenure) => flush.run(tenure),
    // Beside the flush, not in it: while Stripe's sums cannot be read, usage still goes there.
    (tenure: Tenure) => reconcile.run(tenure),
    repeatedly({
      name: "the closing of invoiced periods",
      intervalMs: config.flushIntervalMs,
      clock: SYSTEM_CLOCK,
      logger,
      pass: (tenure) => closePeriods(closing, tenure),
    }),
    repeatedly({
      name: "the comparison of limits with the ledger",
      intervalMs: LIMITS_INTERVAL_MS,
      clock: SYSTEM_CLOCK,
      logger,
      pass: (tenure) => compareLimits(limits, tenure),
    }),
    ...comparingIntakeLimits(foundation),
  ];
  const lead = async (tenure: Tenure) => {
    metrics.leading(true);
    await leadAll(tenure, works).finally(() => metrics.leading(false));
  };
  await startLoop(closers, "the flush", (signal) => runWhileHeld(holder, signal, lead));
  await startLoop(closers, "maintenance", (signal) => maintain(foundation, signal));
}

/** The configured way to Stripe. */
function openSink(config: Config): MeterSink {
  const stripe = openStripeOf(config);
  if (config.stripeSink === "stream") return stripeMeterStream(stripe, SYSTEM_CLOCK, SEND_LIMIT_MS);
  return stripeMeterEvents(stripe, SEND_LIMIT_MS);
}

/** The official client, as every room that needs it gets it. */
export function openStripeOf(config: Config): ReturnType<typeof openStripe> {
  if (config.stripeSecretKey === undefined) throw new OperatorError("STRIPE_SECRET_KEY must be set");
  return openStripe({
    secretKey: config.stripeSecretKey,
    apiBase: config.stripeApiBase === undefined ? undefined : new URL(config.stripeApiBase),
    // Some to spare: a send that was given up keeps its socket until the SDK's own timeout.
    maxSockets: config.stripeConcurrency * 2,
    timeoutMs: SEND_LIMIT_MS / 2,
  });
}

/** Several processes at it do no harm: each step is idempotent. */
async function maintain({ pool, config, logger }: Foundation, signal: AbortSignal): Promise<void> {
  let prunedMs = Number.NEGATIVE_INFINITY;
  while (!signal.aborted) {
    try {
      const nowMs = await databaseNowMs(pool);
      const { made, dropped } = await maintainPartitions(pool, nowMs, config.retentionMs);
      await forgetDeletedKeys(pool, nowMs);
      await forgetActivity(pool);
      logger.info({ made, dropped }, "kept the partitions of raw records");
      // Once a day: it looks at every customer.
      const beforeMs = prunedBefore(nowMs, config.reportRetentionMs);
      if (beforeMs > prunedMs) logger.info(await prune(pool, FLUSH_LEASE, beforeMs, signal), "dropped old reports");
      prunedMs = beforeMs;
    } catch (err) {
      logger.error({ err }, "could not drop what is old, or make partitions of raw records; will try again in an hour");
    }
    await SYSTEM_CLOCK.sleep(MAINTENANCE_INTERVAL_MS, signal);
  }
}
