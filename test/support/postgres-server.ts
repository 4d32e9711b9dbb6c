// A PostgreSQL server of a test's own, migrated, to be killed and started again.
import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
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
  async start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#server = await startEmbeddedPostgres({ dataDir: this.#dir, port: this.#port, settings });
        return;
      } catch (cause) {
        // It refuses to start while a process of the killed server still lives.
        if (attempt === START_ATTEMPTS_MAX) throw cause;
        await delay(500);
      }
    }
  }

  /** A base backup of the running server, as pg_basebackup takes it; for restore(). */
  async backUp(): Promise<void> {
    const client = new pg.Client({ connectionString: this.#server.url("postgres") });
    await client.connect();
    try {
      await client.query("SELECT pg_backup_start('test', true)");
      rmSync(this.#backup, { recursive: true, force: true });
      execFileSync("cp", ["-a", this.#data, this.#backup]);
      const stopped = await client.query<{ labelfile: string }>("SELECT labelfile FROM pg_backup_stop()");
      execFileSync("cp", ["-a", `${this.#data}/pg_wal/.`, join(this.#backup, "pg_wal")]);
      // Owned like all the rest of it.
      execFileSync("cp", ["-a", join(this.#backup, "PG_VERSION"), join(this.#backup, "backup_label")]);
      writeFileSync(join(this.#backup, "backup_label"), stopped.rows[0]?.labelfile ?? "");
      rmSync(join(this.#backup, "postmaster.pid"));
    } finally {
      await client.end();
    }
  }

  /**
   * The server's machine is gone; another starts from the backup. `to` "backup": with nothing that came after. "last_commit": with the
   * write-ahead log up to the end, as a deployment has it that archives it.
   */
  async restore(to: "backup" | "last_commit"): Promise<void> {
    await this.kill();
    const archive = join(this.#dir, "archive");
    if (to === "last_commit") renameSync(join(this.#data, "pg_wal"), archive);
    rmSync(this.#data, { recursive: true });
    execFileSync("cp", ["-a", this.#backup, this.#data]);
    if (to === "backup") return this.start();
    execFileSync("cp", ["-a", join(this.#data, "PG_VERSION"), join(this.#data, "recovery.signal")]);
    await this.start({ restore_command: `cp ${archive}/%f %p` });
  }

  get #data(): string {
    return join(this.#dir, "data");
  }

  get #backup(): string {
    return join(this.#dir, "backup");
  }

  async close(): Promise<void> {
    await this.#server.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
