// The two stores, as durable as production asks for, to be restarted in every way there is. Their ports and passwords outlive that.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import pg from "pg";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../src/process/embedded/embedded-postgres.ts";
import { type EmbeddedRedis, findRedisProgram, startEmbeddedRedis } from "../src/process/embedded/embedded-redis.ts";

/** Servers are in sessions of their own, and would outlive this process. */
const serverPids = new Set<number>();
process.once("exit", () => {
  for (const pid of serverPids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
});

const START_ATTEMPTS_MAX = 120;
const START_AGAIN_MS = 500;

export class RedisStore {
  readonly #options: { readonly program: string; readonly dataDir: string; readonly port: number };
  #server: EmbeddedRedis | undefined;

  private constructor(program: string, dataDir: string, port: number) {
    this.#options = { program, dataDir, port };
  }

  /** Throws where the machine has no Redis. */
  static async start(dataDir: string, port: number): Promise<RedisStore> {
    const program = await findRedisProgram();
    if (program === undefined)
      throw new Error(
        "no redis-server or valkey-server on the PATH: apt-get install redis-server, or brew install redis",
      );
    const store = new RedisStore(program, dataDir, port);
    await store.up();
    return store;
  }

  /** With its password. */
  get url(): string {
    if (this.#server === undefined) throw new Error("Redis is down");
    return this.#server.url;
  }

  async up(): Promise<void> {
    this.#server = await again(() => startEmbeddedRedis(this.#options));
    keepTrack(this.#server);
  }

  /** SIGTERM: an orderly end. SIGKILL: none. The data stays. */
  async down(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    if (signal === "SIGKILL") process.kill(server.pid, signal);
    else await server.stop();
    await server.exited;
  }

  /** Removes the append-only file of a server that is down: it comes back empty. */
  wipe(): void {
    rmSync(join(this.#options.dataDir, "appendonlydir"), { recursive: true, force: true });
  }

  signal(name: "SIGSTOP" | "SIGCONT"): void {
    if (this.#server !== undefined) process.kill(this.#server.pid, name);
  }

  /** One command on a connection of its own. */
  async command(name: string, ...args: readonly string[]): Promise<unknown> {
    const client = new Redis(this.url, { retryStrategy: null });
    client.on("error", () => {});
    try {
      return await client.call(name, ...args);
    } finally {
      client.disconnect();
    }
  }
}

export class PostgresStore {
  readonly #options: {
    readonly dataDir: string;
    readonly port: number;
    readonly settings: Readonly<Record<string, string>>;
  };
  #server: EmbeddedPostgres | undefined;

  private constructor(dataDir: string, port: number) {
    this.#options = { dataDir, port, settings: { max_connections: "300" } };
  }

  static async start(dataDir: string, port: number): Promise<PostgresStore> {
    const store = new PostgresStore(dataDir, port);
    await store.up();
    return store;
  }

  /** Of the database that the service uses, past any proxy. */
  get url(): string {
    if (this.#server === undefined) throw new Error("PostgreSQL is down");
    return this.#server.url("metering");
  }

  /** Statements on another database of the same server. */
  async admin(...statements: readonly string[]): Promise<void> {
    if (this.#server === undefined) throw new Error("PostgreSQL is down");
    const client = new pg.Client({ connectionString: this.#server.url("postgres") });
    await client.connect();
    try {
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  }

  async up(): Promise<void> {
    this.#server = await again(() => startEmbeddedPostgres(this.#options));
    keepTrack(this.#server);
  }

  /** SIGINT: fast, sessions are ended. SIGQUIT: immediate, it recovers at the next start. SIGKILL: the first process alone, with no word to the others. */
  async down(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    process.kill(server.pid, signal);
    await server.exited;
  }
}

function keepTrack({ pid, exited }: { readonly pid: number; readonly exited: Promise<void> }): void {
  serverPids.add(pid);
  void exited.then(() => serverPids.delete(pid));
}

/** A server refuses to start while a process of the one before it still lives, or has its port. */
async function again<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start();
    } catch (cause) {
      if (attempt === START_ATTEMPTS_MAX) throw cause;
      await delay(START_AGAIN_MS);
    }
  }
}
