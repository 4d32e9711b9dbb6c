// What a command that looks into the database, or writes to it, stands on.
import { checkSchema } from "../postgres/migrate.ts";
import { openPool, type Pool } from "../postgres/pool.ts";
import { processEnvironment } from "./config/environment.ts";
import { type Config, parseConfig } from "./config/parse-config.ts";
import { serviceEnvironment } from "./dev-directory.ts";
import { createLogger, type Logger, secretsOf } from "./logger.ts";

export interface CommandDatabase {
  readonly config: Config;
  readonly pool: Pool;
  /** Warnings and worse, on standard error. */
  readonly logger: Logger;
}

/**
 * Runs `work` on the database of the settings, or of the running `metering dev`, and closes it after. Throws ConfigError where a setting
 * of `needed` is missing or wrong, SchemaError where the schema is another version's.
 */
export async function withDatabase<T>(
  command: string,
  work: (database: CommandDatabase) => Promise<T>,
  needed: readonly (keyof Config)[] = [],
): Promise<T> {
  const config = parseConfig(await serviceEnvironment(processEnvironment()), ["databaseUrl", ...needed]);
  const logger = createLogger("warn", secretsOf(config), process.stderr);
  const pool = openPool({
    connectionString: config.databaseUrl ?? "",
    applicationName: `metering ${command}`,
    maxConnections: 4,
    statementTimeoutMs: config.statementTimeoutMs,
    onIdleError: (err) => logger.warn({ err }, "an idle connection to Postgres broke"),
  });
  try {
    await checkSchema(pool);
    return await work({ config, pool, logger });
  } finally {
    await pool.end();
  }
}
