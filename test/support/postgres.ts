// A database of its own for a test file or a test, cloned from the migrated template.
import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject, onTestFinished } from "vitest";
import { openDeployment } from "../../src/postgres/deployment.ts";
import { openPool, type Pool } from "../../src/postgres/pool.ts";
import { TEMPLATE } from "./stores.ts";

export interface TestDatabase {
  readonly url: string;
  readonly pool: Pool;
  /** A further pool on the same database, as another process would have. Closed by close(). */
  connect(): Pool;
  /** Closes the pools and drops the database. */
  close(): Promise<void>;
}

/** Makes a database. The caller closes it, in afterAll or so. */
export async function createTestDatabase(options: { template?: string } = {}): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  await admin(`CREATE DATABASE ${name} TEMPLATE ${options.template ?? TEMPLATE}`);
  const url = new URL(inject("postgresUrl"));
  url.pathname = `/${name}`;
  const pools: Pool[] = [];
  const connect = () => {
    const pool = openPool({
      connectionString: url.href,
      applicationName: "test",
      maxConnections: 10,
      statementTimeoutMs: 30_000,
      onIdleError: () => {},
    });
    pools.push(pool);
    return pool;
  };
  const pool = connect();
  return {
    url: url.href,
    pool,
    connect,
    async close() {
      await Promise.all(pools.map((p) => (p.ended ? undefined : p.end())));
      await admin(`DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** Makes a database that goes when the current test ends. */
export async function useTestDatabase(options: { template?: string } = {}): Promise<TestDatabase> {
  const database = await createTestDatabase(options);
  onTestFinished(() => database.close());
  return database;
}

/** As useTestDatabase, of a deployment that was started: Postgres intake, two shards. */
export async function useServedDatabase(): Promise<TestDatabase> {
  const database = await useTestDatabase();
  await openDeployment(database.pool, 2, "postgres");
  return database;
}

async function admin(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject("postgresUrl") });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
