// The stores of `metering dev`: those that were named, else embedded ones.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Config, Environment } from "./config/parse-config.ts";
import { SETTINGS } from "./config/settings.ts";
import { startEmbeddedPostgres } from "./embedded/embedded-postgres.ts";
import { findRedisProgram, startEmbeddedRedis } from "./embedded/embedded-redis.ts";
import type { Closers } from "./lifecycle.ts";
import type { Logger } from "./logger.ts";
import { OperatorError } from "./operator-error.ts";
import { superviseServer } from "./supervised-server.ts";

/** A store that is up, or is none of ours. */
export interface DevStore {
  /** Where it is and who keeps it, for people. */
  readonly description: string;
  /** Settings that lead the service to it. */
  readonly environment: Environment;
  /** Resolves, with a reason, when it ended for good; never for a store that is none of ours. */
  readonly died: Promise<string>;
}

const NEVER = new Promise<string>(() => {});

/** DATABASE_URL's, else an embedded PostgreSQL under the data directory. */
export async function devPostgres(config: Config, closers: Closers, logger: Logger): Promise<DevStore> {
  if (config.databaseUrl !== undefined)
    return { description: `DATABASE_URL, ${withoutCredentials(config.databaseUrl)}`, environment: {}, died: NEVER };
  const dataDir = join(config.dataDir, "postgres");
  const start = (port: number | undefined) =>
    startEmbeddedPostgres({ dataDir, ...(port === undefined ? {} : { port }) });
  const server = await superviseServer("the embedded PostgreSQL", start, logger);
  await closers.add("the embedded PostgreSQL", () => server.stop());
  return {
    description: `embedded PostgreSQL 18, 127.0.0.1:${server.first.port}, data in ${dataDir}`,
    environment: { [SETTINGS.databaseUrl.env]: server.first.url("metering") },
    died: server.died,
  };
}

/**
 * REDIS_URL's, else one started from the PATH under the data directory; without either, no Redis: Postgres is the intake. Refuses to go
 * on without a Redis where one was used before, since records may still wait there.
 */
export async function devRedis(config: Config, closers: Closers, logger: Logger): Promise<DevStore> {
  if (config.redisUrl !== undefined)
    return { description: `Redis, REDIS_URL, ${withoutCredentials(config.redisUrl)}`, environment: {}, died: NEVER };
  const dataDir = join(config.dataDir, "redis");
  const program = config.intake === "postgres" ? undefined : await findRedisProgram();
  if (program === undefined) {
    if (existsSync(dataDir))
      throw new OperatorError(
        `records may still wait in the Redis data of ${dataDir}, from an earlier start: have redis-server or valkey-server on the PATH ` +
          `(METERING_INTAKE auto or redis), or set METERING_DATA_DIR to another directory to start afresh`,
      );
    if (config.intake === "redis")
      throw new OperatorError(
        "METERING_INTAKE is redis: have redis-server or valkey-server on the PATH, or set REDIS_URL",
      );
    const why = config.intake === "postgres" ? "METERING_INTAKE" : "no redis-server or valkey-server on the PATH";
    return { description: `Postgres (${why})`, environment: {}, died: NEVER };
  }
  const start = (port: number | undefined) =>
    startEmbeddedRedis({ program, dataDir, ...(port === undefined ? {} : { port }) });
  const server = await superviseServer("the embedded Redis", start, logger);
  await closers.add("the embedded Redis", () => server.stop());
  return {
    description: `Redis, ${program} from the PATH, 127.0.0.1:${server.first.port}, data in ${dataDir}`,
    environment: { [SETTINGS.redisUrl.env]: server.first.url },
    died: server.died,
  };
}

function withoutCredentials(text: string): string {
  const url = new URL(text);
  url.username = "";
  url.password = "";
  // Parameters of a connection URL may be credentials too.
  url.search = "";
  return url.href;
}
