// `metering dev`, that is `npm start`: the whole service in one process, with whatever it needs brought up beside it.
import { resolve } from "node:path";
import { Command } from "commander";
import { migrate } from "../../postgres/migrate.ts";
import { openPool } from "../../postgres/pool.ts";
import { THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../../webhook/app.ts";
import { startService } from "../compose.ts";
import { processEnvironment } from "../config/environment.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import { type Config, type Environment, parseConfig } from "../config/parse-config.ts";
import { SETTINGS } from "../config/settings.ts";
import { devBanner } from "../dev-banner.ts";
import { claimDevDirectory, publishDevService } from "../dev-directory.ts";
import { devPostgres, devRedis } from "../dev-stores.ts";
import { freePort } from "../embedded/free-port.ts";
import { type Closers, runUntilStopped } from "../lifecycle.ts";
import { createLogger, type Logger, secretsOf } from "../logger.ts";
import { requireFreePorts } from "../port-check.ts";
import { ROLES, type Role } from "../service.ts";
import { type SimulatedStripe, startSimulatedStripe } from "../simulated-stripe.ts";

export function buildCommand(): Command {
  return new Command("dev")
    .description(
      "Runs every role of the service in this process and brings up what it lacks: an embedded PostgreSQL 18 without DATABASE_URL; " +
        "a Redis without REDIS_URL, where redis-server or valkey-server is on the PATH (else records go straight to Postgres); " +
        "a SIMULATED Stripe without STRIPE_SECRET_KEY. Applies migrations. Ctrl-C ends all of it; the data stays in METERING_DATA_DIR. Killed with SIGKILL, it leaves its stores running; the next start ends them.",
    )
    .option("--json", "print where everything listens as one JSON object, instead of for people")
    .addHelpText(
      "after",
      `
Settings: all have defaults; see "metering check-config --help". Log lines go to stderr.
Exit codes: 0 ended by a signal, 1 something could not be started or ended badly, 2 the configuration is wrong.
Example: GRPC_PORT=50052 METERING_FLUSH_INTERVAL=5s metering dev`,
    )
    .action(async (options: { json?: true }) => {
      const environment = processEnvironment();
      const config = parseConfig(environment);
      const secrets: string[] = [...secretsOf(config)];
      const logger = createLogger(config.logLevel, secrets, process.stderr);
      process.exitCode = await runUntilStopped({
        start: (closers) => startDev({ environment, config, secrets, logger, closers, json: options.json === true }),
        graceMs: config.shutdownGraceMs,
        logger,
        control: process,
      });
    });
}

interface DevContext {
  readonly environment: Environment;
  /** As the environment alone gives it. */
  readonly config: Config;
  /** Grows with the passwords of embedded stores. */
  readonly secrets: string[];
  readonly logger: Logger;
  readonly closers: Closers;
  readonly json: boolean;
}

async function startDev(context: DevContext): Promise<{ died: Promise<string> }> {
  const { environment, config, logger, closers } = context;
  const catalog = readMeterCatalog(config.catalogFile);
  await closers.add("the data directory", await claimDevDirectory(config.dataDir));
  const simulated = config.stripeSecretKey === undefined;
  await requireFreePorts(config, [...SERVICE_PORTS, ...(simulated ? (["stripeSimulatorPort"] as const) : [])]);
  const postgres = await devPostgres(config, closers, logger);
  const redis = await devRedis(config, closers, logger);
  const webhookPort = config.webhookPort === 0 ? await freePort() : config.webhookPort;
  const eventNames = catalog.billing.map((rule) => rule.eventName);
  const stripe = simulated ? await simulate(context, webhookPort, eventNames) : undefined;
  const found = {
    [SETTINGS.adminApi.env]: "true",
    ...environment,
    ...postgres.environment,
    ...redis.environment,
    ...stripe?.environment,
    [SETTINGS.webhookPort.env]: String(webhookPort),
  };
  const serviceConfig = parseConfig(found, ["databaseUrl", "stripeSecretKey"]);
  context.secrets.push(...secretsOf(serviceConfig));
  await migrateDatabase(serviceConfig);
  const service = await startService(serviceConfig, rolesFor(serviceConfig, logger), { logger });
  await closers.add("the service", () => service.stop());
  const { addresses } = service;
  const published = {
    ...found,
    ...portEnvironment(addresses),
    [SETTINGS.catalogFile.env]: resolve(config.catalogFile),
  };
  await closers.add("the service's announcement", await publishDevService(config.dataDir, published));
  const summary = {
    config: serviceConfig,
    addresses,
    postgres: postgres.description,
    intake: redis.description,
    simulatorUrl: stripe?.url,
    customerId: stripe?.demoCustomerId ?? "acme",
  };
  const { config: _, ...printed } = summary;
  process.stdout.write(context.json ? `${JSON.stringify(printed)}\n` : devBanner(summary));
  return { died: Promise.race([postgres.died, redis.died]) };
}

const SERVICE_PORTS = ["grpcPort", "httpPort", "webhookPort", "opsPort"] as const;

async function simulate(
  { config, closers }: DevContext,
  webhookPort: number,
  eventNames: readonly string[],
): Promise<SimulatedStripe> {
  const stripe = await startSimulatedStripe({
    host: "127.0.0.1",
    port: config.stripeSimulatorPort,
    webhookUrl: `http://127.0.0.1:${webhookPort}${WEBHOOK_PATH}`,
    thinWebhookUrl: `http://127.0.0.1:${webhookPort}${THIN_WEBHOOK_PATH}`,
    dataDir: config.dataDir,
    eventNames,
  });
  await closers.add("the simulated Stripe", () => stripe.close());
  return stripe;
}

async function migrateDatabase(config: Config): Promise<void> {
  const pool = openPool({
    connectionString: config.databaseUrl ?? "",
    applicationName: "metering migrate",
    maxConnections: 1,
    statementTimeoutMs: 0,
    onIdleError: () => {},
  });
  try {
    await migrate(pool);
  } finally {
    await pool.end();
  }
}

/** All of them; without a signing secret nothing that arrives as a webhook could be believed. */
function rolesFor(config: Config, logger: Logger): ReadonlySet<Role> {
  if (config.stripeWebhookSecrets.length > 0) return new Set(ROLES);
  logger.warn({}, `webhooks are off: set ${SETTINGS.stripeWebhookSecrets.env}`);
  return new Set(ROLES.filter((role) => role !== "webhooks"));
}

function portEnvironment(addresses: Readonly<Record<(typeof SERVICE_PORTS)[number], number | undefined>>): Environment {
  return Object.fromEntries(SERVICE_PORTS.map((name) => [SETTINGS[name].env, addresses[name]?.toString()]));
}
