import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { openDeployment } from "../../src/postgres/deployment.ts";
import { postgresIntake } from "../../src/postgres/intake.ts";
import { postgresLedger } from "../../src/postgres/ledger.ts";
import { migrate } from "../../src/postgres/migrate.ts";
import { openPool, type Pool } from "../../src/postgres/pool.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/process/embedded/embedded-postgres.ts";
import { testCatalog } from "../support/catalog.ts";
import { intakeContract } from "./intake.ts";

const SHARD_COUNT = 4;

describe("intake over Postgres", () => {
  // A server of its own, with fsync: it gets killed.
  const dataDir = mkdtempSync(join(tmpdir(), "metering-test-intake-"));
  let server: EmbeddedPostgres;
  let pool: Pool;

  beforeAll(async () => {
    server = await startEmbeddedPostgres({ dataDir });
    pool = openPool({
      connectionString: server.url("metering"),
      applicationName: "test",
      maxConnections: 10,
      statementTimeoutMs: 30_000,
      onIdleError: () => {},
    });
    await migrate(pool);
    await openDeployment(pool, SHARD_COUNT, "postgres");
  });
  afterAll(async () => {
    await pool.end();
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  intakeContract(() => ({
    open: (waitingRecords) =>
      postgresIntake(postgresLedger(pool, testCatalog(), SHARD_COUNT), {
        maxBatch: 1_000,
        maxWaiting: waitingRecords,
        onFailure: () => {},
      }),
    async storedTimes(customerId, idempotencyKey) {
      const result = await pool.query<{ stored: string }>(
        "SELECT count(*) AS stored FROM usage_record WHERE customer_id = $1 AND idempotency_key = $2",
        [customerId, idempotencyKey],
      );
      return Number(result.rows[0]?.stored);
    },
    async kill() {
      process.kill(server.pid, "SIGKILL");
      await server.exited;
    },
    async start() {
      server = await startEmbeddedPostgres({ dataDir, port: server.port });
    },
  }));
});
