// A PostgreSQL server of a test's own, migrated, to be killed and started again.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { migrate } from "../../src/postgres/migrate.ts";
import { openPool } from "../../src/postgres/pool.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/process/embedded/embedded-postgres.ts";

const START_ATTEMPTS_MAX = 60;

export class PostgresServer {
  /** Stays the same over restarts. */
  readonly url: string;
  readonly #dir: string;
  readonly #port: number;
  #server: EmbeddedPostgres;

  private constructor(dir: string, server: EmbeddedPostgres) {
    this.#dir = dir;
    this.#server = server;
    this.#port = server.port;
    this.url = server.url("metering");
  }

  /** The caller closes it. */
  static async start(): Promise<PostgresServer> {
    const dir = mkdtempSync(join(tmpdir(), "metering-test-own-postgres-"));
    const server = new PostgresServer(dir, await startEmbeddedPostgres({ dataDir: dir }));
    const options = { applicationName: "test", maxConnections: 1, statementTimeoutMs: 60_000, onIdleError: () => {} };
    const pool = openPool({ connectionString: server.url, ...options });
    await migrate(pool);
    await pool.end();
    return server;
  }

  /** SIGKILL; resolves when the server's first process is gone. The others follow by themselves. */
  async kill(): Promise<void> {
    process.kill(this.#server.pid, "SIGKILL");
    await this.#server.exited;
  }

  /** Starts again on the same port and data. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#server = await startEmbeddedPostgres({ dataDir: this.#dir, port: this.#port });
        return;
      } catch (cause) {
        // It refuses to start while a process of the killed server still lives.
        if (attempt === START_ATTEMPTS_MAX) throw cause;
        await delay(500);
      }
    }
  }

  async close(): Promise<void> {
    await this.#server.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
