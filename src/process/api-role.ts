// The role "api": gRPC for backends, Connect and gRPC-Web for browsers.
import { randomUUID } from "node:crypto";
import { followStreams } from "../app/follow-streams.ts";
import { getUsage } from "../app/get-usage.ts";
import { OpaqueTokens } from "../app/opaque-tokens.ts";
import type { Durability, Intake } from "../app/ports/intake.ts";
import { RecordUsage } from "../app/record-usage.ts";
import { SharedReading } from "../app/shared-reading.ts";
import { UsageFeeds } from "../app/usage-feeds.ts";
import type { ReadUsage } from "../app/usage-request.ts";
import { LISTED_CUSTOMERS_MAX, watchAll } from "../app/watch-all.ts";
import { watchUsage } from "../app/watch-usage.ts";
import { limitPolicyOf } from "../domain/limits.ts";
import { postgresActivityReader } from "../postgres/activity.ts";
import { postgresIntake, probePostgresDurability } from "../postgres/intake.ts";
import { postgresLedger } from "../postgres/ledger.ts";
import { readStatus } from "../postgres/status.ts";
import { reading } from "../postgres/unavailable.ts";
import { postgresUsageReader } from "../postgres/usage-reader.ts";
import { postgresVoids } from "../postgres/void.ts";
import { probeDurability } from "../redis/durability.ts";
import { REDIS_INTAKE_LIMITS, redisIntake } from "../redis/intake.ts";
import { redisStreamStates } from "../redis/stream.ts";
import { AdminHandlers } from "../rpc/admin-handlers.ts";
import { ConnectServer } from "../rpc/connect-server.ts";
import { DEFAULT_CALL_LIMITS } from "../rpc/edge.ts";
import { DEFAULT_GRPC_CONNECTION, GrpcServer } from "../rpc/grpc-server.ts";
import { MeteringHandlers } from "../rpc/handlers.ts";
import { OperationsHandlers } from "../rpc/operations-handlers.ts";
import { startLoop } from "./background.ts";
import { isStandIn, servesAdminApi, servesReflection } from "./config/parse-config.ts";
import type { Foundation } from "./foundation.ts";
import { guardHost } from "./host-guard.ts";
import { httpServers } from "./http-server.ts";
import { IntakeHealth } from "./intake-health.ts";
import { heardVoids } from "./intake-limits.ts";
import type { Closers } from "./lifecycle.ts";
import { endUnheld, openAccess } from "./open-access.ts";
import { type OpenLimits, openLimits } from "./open-limits.ts";
import { PAGE_FOLDER, pageHandler } from "./page.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

export interface ApiRole {
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly health: IntakeHealth;
}

/** How long a change may go unseen by the streams. */
const FEED_LOOK_EVERY_MS = 25;
/** How old the order of all customers may be. */
const ACTIVITY_MAX_AGE_MS = 1_000;
/** How old an overview may be: many pages may poll it. */
const STATUS_MAX_AGE_MS = 1_000;
const REPLICA_WAIT_TIMEOUT_MS = 1_000;

/** Listens on both ports; health says SERVING once the intake was seen to be up. */
export async function startApi(foundation: Foundation, closers: Closers): Promise<ApiRole> {
  const { config, catalog, deployment, pool, redis, metrics, logger, tracing, tls } = foundation;
  if (redis !== undefined) {
    const ledger = postgresLedger(pool, catalog, deployment.shardCount);
    await followStreams({ ledger, stream: redisStreamStates(redis.client, randomUUID) });
  }
  const tokens = new OpaqueTokens(deployment.tokenKey);
  const keyed = await openLimits(foundation, tokens, closers);
  const intake = openIntake(foundation, keyed);
  const credentials = await openAccess(foundation, tokens, closers);
  const { access } = credentials;
  const servesAdmin = servesAdminApi(config);
  const limits = { ...DEFAULT_CALL_LIMITS, maxStreams: config.maxStreams };
  const edge = { clock: SYSTEM_CLOCK, logger, observer: metrics.rpc, limits, access, randomId: randomUUID, tracing };
  const handlers = new MeteringHandlers({
    recordUsage: new RecordUsage(intake, tokens, { limits: keyed.limits, tracing }),
    limits: keyed.limits,
    readUsage: readUsage(foundation, tokens),
    catalog,
    clock: SYSTEM_CLOCK,
    observer: metrics.rpc,
    mayReadAll: access !== undefined || servesAdmin,
  });
  const operations = servesAdmin ? openOperations(foundation) : undefined;
  const voids = postgresVoids(pool, catalog, deployment.shardCount);
  const admin = servesAdmin ? new AdminHandlers(heardVoids(foundation, voids)) : undefined;
  const served = { ...edge, handlers, admin, operations, keys: keyed.keys, tokens: credentials.tokens };
  const grpc = new GrpcServer({
    ...served,
    connection: DEFAULT_GRPC_CONNECTION,
    certificates: tls?.for("grpc"),
    reflection: servesReflection(config),
  });
  const createServer = guardHost(config, httpServers(tls?.for("http")));
  const fallback = pageHandler(PAGE_FOLDER, { stripeSimulated: isStandIn(config), catalog });
  const connect = new ConnectServer({ ...served, corsOrigins: config.corsOrigins, createServer, fallback });
  if (access !== undefined) await startLoop(closers, "ends of access", (signal) => endUnheld([grpc, connect], signal));
  // Two ports, one after the other, and half of the time for the loops behind them.
  const graceMs = config.shutdownGraceMs / 4;
  const grpcPort = await grpc.start(config.grpcPort, config.host);
  await closers.add("the gRPC port", () => grpc.stop(graceMs));
  const httpPort = await connect.start(config.httpPort, config.host);
  await closers.add("the Connect port", () => connect.stop(graceMs));
  const health = new IntakeHealth({
    ping: () => pingIntake(foundation),
    probe: () => probeIntake(foundation),
    onServing: (serving) => grpc.setServing(serving),
    onDurable: (durable) => metrics.intakeDurable(durable),
    clock: SYSTEM_CLOCK,
    logger,
  });
  await health.look();
  await startLoop(closers, "the intake's health", (signal) => health.run(signal));
  // First to be ended: callers are sent elsewhere before anything stops.
  await closers.add("gRPC health", () => grpc.setServing(false));
  return { grpcPort, httpPort, health };
}

function openIntake(
  { config, catalog, deployment, pool, redis, logger }: Foundation,
  { limits, onUncounted }: OpenLimits,
): Intake {
  const { shardCount } = deployment;
  if (redis === undefined) {
    return postgresIntake(postgresLedger(pool, catalog, shardCount), {
      maxBatch: config.intakeMaxBatch,
      maxWaiting: config.intakeMaxWaiting,
      usages: (records) =>
        limits.usages(records, (err) => logger.warn({ err }, "what keys used cannot be read; records are stored")),
      onFailure: (err) => logger.warn({ err }, "a commit of the intake failed"),
    });
  }
  return redisIntake({
    client: redis.client,
    shardCount,
    duplicateWindowMs: config.duplicateWindowMs,
    randomId: randomUUID,
    random: Math.random,
    limits: {
      ...REDIS_INTAKE_LIMITS,
      batchRecords: config.intakeMaxBatch,
      waitingRecords: config.intakeMaxWaiting,
      streamEntries: config.streamMaxEntries,
    },
    waitReplicas: config.redisWaitReplicas,
    waitReplicasTimeoutMs: REPLICA_WAIT_TIMEOUT_MS,
    limitMeters: limitPolicyOf(catalog).meters,
    nowMs: () => SYSTEM_CLOCK.nowMs(),
    onUncounted,
    onFailure: (err) => logger.warn({ err }, "commits of the intake fail"),
  });
}

function readUsage({ config, catalog, deployment, pool }: Foundation, tokens: OpaqueTokens): ReadUsage {
  const { shardCount } = deployment;
  const reader = postgresUsageReader(pool, shardCount, config.paymentGraceMs);
  const dependencies = { reader, tokens, catalog, clock: SYSTEM_CLOCK, shardCount };
  const feeds = new UsageFeeds(dependencies, FEED_LOOK_EVERY_MS);
  const top = () => postgresActivityReader(pool).mostActive(LISTED_CUSTOMERS_MAX);
  const activity = new SharedReading(top, SYSTEM_CLOCK, ACTIVITY_MAX_AGE_MS);
  return {
    getUsage: (request, context) => getUsage(dependencies, request, context),
    watchUsage: (request, context) => watchUsage(dependencies, feeds, request, context),
    watchAll: (request, context) => watchAll({ ...dependencies, feeds, activity }, request, context),
  };
}

function openOperations({ config, pool }: Foundation): OperationsHandlers {
  const status = new SharedReading(() => reading(() => readStatus(pool)), SYSTEM_CLOCK, STATUS_MAX_AGE_MS);
  return new OperationsHandlers({ status: () => status.current(), stripeSimulated: isStandIn(config) });
}

async function pingIntake({ pool, redis }: Foundation): Promise<void> {
  if (redis === undefined) await pool.query("SELECT 1");
  else await redis.client.ping();
}

function probeIntake({ pool, redis }: Foundation): Promise<Durability> {
  return redis === undefined ? probePostgresDurability(pool) : probeDurability(redis.client);
}
