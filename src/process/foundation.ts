// What every role stands on: the catalog, the stores, what the deployment is.
import { randomUUID } from "node:crypto";
import type { Tracing } from "../app/ports/tracing.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { type Deployment, type IntakeKind, openDeployment } from "../postgres/deployment.ts";
import { checkSchema } from "../postgres/migrate.ts";
import { databaseNowMs, makePartitions } from "../postgres/partitions.ts";
import { openPool, type Pool } from "../postgres/pool.ts";
import { closeRedis, openRedis, type RedisClientOptions, redisReady } from "../redis/client.ts";
import { claimStore } from "../redis/ownership.ts";
import { startLoop } from "./background.ts";
import { readMeterCatalog } from "./config/meter-catalog.ts";
import type { Config } from "./config/parse-config.ts";
import type { Closers } from "./lifecycle.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { OperatorError } from "./operator-error.ts";
import { TlsCertificates } from "./tls.ts";
import { openTracing } from "./tracing.ts";

export interface Foundation {
  readonly config: Config;
  readonly catalog: MeterCatalog;
  readonly pool: Pool;
  readonly deployment: Deployment;
  readonly intakeKind: IntakeKind;
  /** Undefined with Postgres intake. */
  readonly redis: RedisConnection | undefined;
  /** Names this process to the other ones. */
  readonly processId: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Undefined where traces are not collected. */
  readonly tracing: Tracing | undefined;
  /** Undefined: plain text. */
  readonly tls: TlsCertificates | undefined;
}

export interface RedisConnection {
  readonly client: ReturnType<typeof openRedis>;
  readonly options: RedisClientOptions;
}

const REDIS_START_TIMEOUT_MS = 10_000;

/**
 * Opens the stores and checks that this process fits them: the schema (never migrated here), the number of shards, the kind of intake.
 * Throws SchemaError, DeploymentError, ForeignStoreError or OperatorError.
 */
export async function openFoundation(
  config: Config,
  logger: Logger,
  metrics: Metrics,
  closers: Closers,
): Promise<Foundation> {
  const catalog = readMeterCatalog(config.catalogFile);
  const tls = config.tlsCertFile === undefined ? undefined : new TlsCertificates(config, logger);
  if (tls !== undefined) await startLoop(closers, "TLS certificates", (signal) => tls.run(signal));
  const processId = `${process.pid}-${randomUUID().slice(0, 8)}`;
  if (config.databaseUrl === undefined) throw new OperatorError("DATABASE_URL must be set");
  const pool = openPool({
    connectionString: config.databaseUrl,
    applicationName: `metering ${processId}`,
    maxConnections: config.databasePoolSize,
    statementTimeoutMs: config.statementTimeoutMs,
    onIdleError: (err) => logger.warn({ err }, "an idle connection to Postgres broke"),
  });
  const tracing = openTracing(config, processId, logger);
  // Ended after everything that may still be traced.
  if (tracing !== undefined) await closers.add("tracing", () => tracing.close());
  await closers.add("Postgres", () => pool.end());
  await checkSchema(pool);
  const intakeKind = intakeOf(config);
  const deployment = await openDeployment(pool, config.shardCount, intakeKind);
  await makePartitions(pool, await databaseNowMs(pool));
  const redis =
    config.redisUrl === undefined ? undefined : await connectRedis(config.redisUrl, processId, logger, closers);
  if (redis !== undefined) await claimStore(redis.client, deployment.deploymentId);
  return { config, catalog, pool, deployment, intakeKind, redis, processId, logger, metrics, tracing, tls };
}

function intakeOf(config: Config): IntakeKind {
  if (config.intake === "redis" && config.redisUrl === undefined) {
    throw new OperatorError("METERING_INTAKE is redis, but REDIS_URL is not set");
  }
  return config.redisUrl === undefined ? "postgres" : "redis";
}

async function connectRedis(
  url: string,
  processId: string,
  logger: Logger,
  closers: Closers,
): Promise<RedisConnection> {
  let lastMessage = "";
  const onError = (err: Error) => {
    // Every attempt to reconnect fails alike: one line for a run of them.
    if (err.message !== lastMessage) logger.warn({ err }, "the connection to Redis broke");
    lastMessage = err.message;
  };
  const options: RedisClientOptions = { url, name: `metering-${processId}`, onError };
  const client = openRedis(options);
  client.on("ready", () => {
    if (lastMessage !== "") logger.info({}, "Redis is back");
    lastMessage = "";
  });
  await closers.add("Redis", () => closeRedis(client));
  await redisReady(client, REDIS_START_TIMEOUT_MS);
  return { client, options };
}
