// `metering migrate`: the only thing that changes the schema, beside `dev`.
import { Command } from "commander";
import { becomeAnother, connectedProcesses, leaveRedis } from "../../postgres/deployment.ts";
import { migrate } from "../../postgres/migrate.ts";
import { openPool, type Pool } from "../../postgres/pool.ts";
import { processEnvironment } from "../config/environment.ts";
import { parseConfig } from "../config/parse-config.ts";
import { serviceEnvironment } from "../dev-directory.ts";
import { OperatorError } from "../operator-error.ts";

interface Options {
  readonly json?: true;
  readonly leaveRedis?: true;
  readonly restored?: true;
}

/** Migrations may rewrite tables; they are never cut short. */
const NO_TIMEOUT = 0;

export function buildCommand(): Command {
  return new Command("migrate")
    .description(
      "Applies the migrations that the database lacks, all in one transaction. Safe to run at any time and by several at once. " +
        "Run it before the new version's `serve`, which refuses a schema that it does not fit.",
    )
    .option("--json", 'print one JSON object: {"applied":[...]}')
    .option(
      "--leave-redis",
      "let a deployment that used Redis go on without: only after `metering status` shows that nothing waits there, and with every " +
        "process stopped",
    )
    .option(
      "--restored",
      "the database was set back to a backup: what it reports next must not be taken for what it has forgotten that it reported; " +
        'nothing may run on it yet (docs/runbook.md, "A restored database")',
    )
    .addHelpText(
      "after",
      `
Settings: DATABASE_URL; without it, the database of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 the schema is up to date, 1 it failed and nothing was changed, 2 the configuration is wrong.
Example: DATABASE_URL=postgresql://metering@db/metering metering migrate`,
    )
    .action(async (options: Options) => {
      const config = parseConfig(await serviceEnvironment(processEnvironment()), ["databaseUrl"]);
      const pool = openPool({
        connectionString: config.databaseUrl ?? "",
        applicationName: "metering migrate",
        maxConnections: 1,
        statementTimeoutMs: NO_TIMEOUT,
        onIdleError: () => {},
      });
      try {
        if (options.leaveRedis || options.restored) await refuseWhileServed(pool);
        const applied = await migrate(pool);
        if (options.leaveRedis) await leaveRedis(pool);
        if (options.restored) await becomeAnother(pool);
        process.stdout.write(options.json ? `${JSON.stringify({ applied })}\n` : describe(applied));
        if (options.leaveRedis && !options.json)
          process.stdout.write(
            "What starts from now on needs no Redis: records go straight to Postgres, unless REDIS_URL is set.\n",
          );
      } finally {
        await pool.end();
      }
    });
}

/** A process that runs would go on as what the deployment was, and write that. */
async function refuseWhileServed(pool: Pool): Promise<void> {
  const names = await connectedProcesses(pool);
  if (names.length === 0) return;
  const which = names.length === 1 ? "a process of the service runs" : `${names.length} processes of the service run`;
  const shown = names.slice(0, SHOWN_MAX).join(", ") + (names.length > SHOWN_MAX ? ", ..." : "");
  throw new OperatorError(`${which} on this database (${shown}): stop all of them first; nothing was done`);
}

/** Of processes in a message. */
const SHOWN_MAX = 5;

function describe(applied: readonly string[]): string {
  if (applied.length === 0) return "The schema is up to date.\n";
  return `${applied.map((name) => `applied ${name}`).join("\n")}\n`;
}
