// `metering serve`: the service, for production.
import { Command, InvalidArgumentError, Option } from "commander";
import { startService } from "../compose.ts";
import { processEnvironment } from "../config/environment.ts";
import { parseConfig, type SettingName } from "../config/parse-config.ts";
import { runUntilStopped } from "../lifecycle.ts";
import { createLogger, secretsOf } from "../logger.ts";
import { type PortName, requireFreePorts } from "../port-check.ts";
import { ROLES, type Role } from "../service.ts";

interface Options {
  readonly roles: ReadonlySet<Role>;
}

export function buildCommand(): Command {
  return new Command("serve")
    .description(
      "Runs the service on the stores that the settings name, until SIGTERM or SIGINT. Refuses a database whose schema it does not fit. " +
        "Roles may run in processes of their own, each as often as you like: of the flush only one leads at a time, drains share the shards.",
    )
    .addOption(
      new Option("--roles <list>", `comma-separated: ${ROLES.join(", ")}`)
        .argParser(parseRoles)
        .default(new Set(ROLES), "all"),
    )
    .addHelpText(
      "after",
      `
Roles:
  api       gRPC on GRPC_PORT, Connect and gRPC-Web on HTTP_PORT
  drain     brings records from Redis into Postgres; idle without REDIS_URL
  flush     reports to Stripe, keeps partitions; needs STRIPE_SECRET_KEY
  webhooks  takes and applies Stripe's webhooks; needs STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET
Every process serves /livez, /readyz and /metrics on OPS_PORT.

Settings: DATABASE_URL and those of the roles; "metering check-config --help" lists all. Log lines go to stdout.
Exit codes: 0 ended by a signal, 1 it could not start or ended badly, 2 the configuration is wrong.
Example: metering serve --roles api,drain`,
    )
    .action(async ({ roles }: Options) => {
      const config = parseConfig(processEnvironment(), requiredFor(roles));
      const logger = createLogger(config.logLevel, secretsOf(config), process.stdout);
      process.exitCode = await runUntilStopped({
        async start(closers) {
          await requireFreePorts(config, portsOf(roles));
          const service = await startService(config, roles, { logger });
          await closers.add("the service", () => service.stop());
          logger.info({ roles: [...roles], host: config.host, ...service.addresses }, "serving");
          return { died: new Promise<string>(() => {}) };
        },
        graceMs: config.shutdownGraceMs,
        logger,
        control: process,
      });
    });
}

function portsOf(roles: ReadonlySet<Role>): PortName[] {
  const ports: PortName[] = ["opsPort"];
  if (roles.has("api")) ports.push("grpcPort", "httpPort");
  if (roles.has("webhooks")) ports.push("webhookPort");
  return ports;
}

function parseRoles(list: string): ReadonlySet<Role> {
  const named = list.split(",").map((name) => name.trim());
  const unknown = named.filter((name) => !(ROLES as readonly string[]).includes(name));
  if (unknown.length > 0) throw new InvalidArgumentError(`no such role: ${unknown.join(", ")}`);
  return new Set(named as Role[]);
}

function requiredFor(roles: ReadonlySet<Role>): SettingName[] {
  const required: SettingName[] = ["databaseUrl"];
  if (roles.has("flush") || roles.has("webhooks")) required.push("stripeSecretKey");
  if (roles.has("webhooks")) required.push("stripeWebhookSecrets");
  return required;
}
