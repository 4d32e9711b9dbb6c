// Databases of the bench: one embedded PostgreSQL, a database for each run, filled in one statement.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { migrate } from "../../src/postgres/migrate.ts";
import { openPool, type Pool } from "../../src/postgres/pool.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/process/embedded/embedded-postgres.ts";

export interface BenchDatabase {
  readonly url: string;
  readonly pool: Pool;
  /** Closes the pool and drops the database. */
  drop(): Promise<void>;
}

/** Starts PostgreSQL in `dir`. */
export async function startPostgres(dir: string): Promise<EmbeddedPostgres> {
  const dataDir = join(dir, "postgres");
  mkdirSync(dataDir, { recursive: true });
  return startEmbeddedPostgres({ dataDir });
}

/** Makes an empty database with the schema. */
export async function createDatabase(postgres: EmbeddedPostgres, name: string): Promise<BenchDatabase> {
  await onServer(postgres, `CREATE DATABASE ${name}`);
  const url = postgres.url(name);
  const pool = poolOf(url);
  await migrate(pool);
  return {
    url,
    pool,
    async drop() {
      await pool.end();
      await onServer(postgres, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/**
 * Closed windows, `windows` of each customer and event name, a minute each, one unit of usage in each. Returns how many. `reported`: they
 * are all with Stripe already.
 */
export async function fillWindows(
  pool: Pool,
  customers: readonly string[] | number,
  eventNames: readonly string[],
  windows: number,
  reported: boolean,
): Promise<number> {
  const names =
    typeof customers === "number"
      ? "SELECT 'cus_' || 10000000 + i FROM generate_series(1, $1::integer) i"
      : "SELECT unnest($1::text[])";
  const result = await pool.query(
    `INSERT INTO pending_window (customer_id, window_start, event_name, window_end, total, reported, accepted)
     SELECT c, at, e, at + interval '1 minute', 1, $4::integer, $4
     FROM (${names}) AS customer(c), unnest($2::text[]) e,
       (SELECT date_trunc('minute', now()) - w * interval '1 minute' FROM generate_series(10, 9 + $3::integer) w) AS t(at)`,
    [customers, eventNames, windows, reported ? 1 : 0],
  );
  await pool.query("VACUUM (ANALYZE) pending_window");
  await pool.query("CHECKPOINT");
  return result.rowCount ?? 0;
}

async function onServer(postgres: EmbeddedPostgres, statement: string): Promise<void> {
  const admin = poolOf(postgres.url("postgres"));
  try {
    await admin.query(statement);
  } finally {
    await admin.end();
  }
}

function poolOf(connectionString: string): Pool {
  const settings = { applicationName: "bench", maxConnections: 4, statementTimeoutMs: 300_000, onIdleError: () => {} };
  return openPool({ connectionString, ...settings });
}
