// Runs once before all test files: the page is built, and one PostgreSQL started for the whole run, with a migrated template database to be cloned from.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { migrate } from "../../src/postgres/migrate.ts";
import { openPool } from "../../src/postgres/pool.ts";
import { startEmbeddedPostgres } from "../../src/process/embedded/embedded-postgres.ts";
import { installChromiumIfMissing, installRedisIfMissing } from "./install-packages.ts";
import { buildPage } from "./page.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Connection URL of the run's server, database "postgres". */
    postgresUrl: string;
  }
}

/** Migrated, empty, never connected to but by CREATE DATABASE ... TEMPLATE. */
export const TEMPLATE = "metering_template";

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  installRedisIfMissing();
  installChromiumIfMissing();
  // Here, since a service that starts while another test builds would find half of it.
  await buildPage();
  const dataDir = mkdtempSync(join(tmpdir(), "metering-test-postgres-"));
  // What the tests prove of durability they prove on servers of their own; here speed is worth more than the data.
  const server = await startEmbeddedPostgres({ dataDir, settings: { fsync: "off", max_connections: "300" } });
  const url = server.url("postgres");
  const admin = openPool(poolOptions(url));
  await admin.query(`CREATE DATABASE ${TEMPLATE}`);
  await admin.end();
  const template = openPool(poolOptions(server.url(TEMPLATE)));
  await migrate(template);
  await template.end();
  project.provide("postgresUrl", url);
  return async () => {
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  };
}

function poolOptions(connectionString: string) {
  const onIdleError = () => {};
  return {
    connectionString,
    applicationName: "test setup",
    maxConnections: 1,
    statementTimeoutMs: 60_000,
    onIdleError,
  };
}
