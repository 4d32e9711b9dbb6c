// What is measured: one service for each way to store, each with stores of its own, all up at the same time so that rounds can take turns.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { migrate } from "../src/postgres/migrate.ts";
import { openPool, type Pool } from "../src/postgres/pool.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../src/process/embedded/embedded-postgres.ts";
import { findRedisProgram, startEmbeddedRedis } from "../src/process/embedded/embedded-redis.ts";
import { closeRedis, openRedis, redisReady } from "../src/redis/client.ts";
import { type ServerChild, startServerChild } from "./child.ts";
import { drained, recordsInLedger, recordsInStreams, recordsSummed } from "./stored.ts";

export interface Target {
  readonly name: "empty" | "redis" | "redis+drain" | "postgres";
  readonly grpcPort: number;
  /** Whose CPU time is told, by what it is. */
  readonly pids: Readonly<Record<string, number>>;
  /** Records in the ledger now, of those that came by way of a drain. */
  readonly drainedSoFar?: () => Promise<number>;
  /**
   * Waits until what was acknowledged has come where it belongs, and counts what the store got since the last time. Leaves the store
   * at rest.
   */
  readonly takeStored?: (acknowledged: number) => Promise<number>;
}

export interface Bench {
  readonly targets: readonly Target[];
  readonly versions: Readonly<Record<string, string>>;
  /** Ends everything that was started and removes its data. */
  stop(): Promise<void>;
}

const SHARDS = 16;
const CLI = fileURLToPath(new URL("../src/process/cli.ts", import.meta.url));
const EMPTY_SERVER = fileURLToPath(new URL("empty-server.ts", import.meta.url));

/** Starts all targets; those on Redis only where the machine has it. `profileDir`: the API processes leave CPU profiles there. */
export async function startBench(profileDir: string | undefined): Promise<Bench> {
  const starter = new Starter(profileDir);
  try {
    const targets = [await starter.empty()];
    const program = await findRedisProgram();
    if (program !== undefined) {
      targets.push(await starter.redis(program, false));
      targets.push(await starter.redis(program, true));
    }
    targets.push(await starter.postgres());
    return { targets, versions: starter.versions, stop: () => starter.stop() };
  } catch (cause) {
    await starter.stop();
    throw cause;
  }
}

class Starter {
  readonly versions: Record<string, string> = {};
  readonly #dir = mkdtempSync(join(tmpdir(), "metering-bench-"));
  readonly #nodeArgs: readonly string[];
  /** In order of the start. */
  readonly #stops: (() => Promise<unknown>)[] = [];
  #postgres: EmbeddedPostgres | undefined;

  constructor(profileDir: string | undefined) {
    this.#nodeArgs = profileDir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDir}`];
  }

  async empty(): Promise<Target> {
    const server = await this.#startChild([...this.#nodeArgs, EMPTY_SERVER], {}, "grpcPort");
    return { name: "empty", grpcPort: server.grpcPort, pids: { api: server.pid } };
  }

  async postgres(): Promise<Target> {
    const { pid, pool, url } = await this.#database("bench_postgres");
    const api = await this.#serve("api", { DATABASE_URL: url });
    return {
      name: "postgres",
      grpcPort: api.grpcPort,
      pids: { api: api.pid, postgres: pid },
      takeStored: ledgerCount(pool),
    };
  }

  async redis(program: string, drain: boolean): Promise<Target> {
    const name = drain ? "redis+drain" : "redis";
    const { pid, pool, url } = await this.#database(drain ? "bench_redis_drain" : "bench_redis");
    const redis = await startEmbeddedRedis({ program, dataDir: join(this.#dir, name) });
    this.#stops.push(() => redis.stop());
    const client = openRedis({ url: redis.url, name: "bench", commandTimeoutMs: 60_000, onError: () => {} });
    this.#stops.push(() => closeRedis(client));
    await redisReady(client, 10_000);
    this.versions["redis"] ??= /redis_version:(\S+)/.exec(await client.info("server"))?.[1] ?? "unknown";
    const environment = { DATABASE_URL: url, REDIS_URL: redis.url };
    const api = await this.#serve("api", environment);
    const pids = { api: api.pid, redis: redis.pid };
    if (drain) {
      const drainPid = (await this.#serve("drain", environment)).pid;
      const drainedSoFar = () => recordsSummed(pool);
      return {
        name,
        grpcPort: api.grpcPort,
        pids: { ...pids, drain: drainPid, postgres: pid },
        drainedSoFar,
        takeStored: ledgerCount(pool),
      };
    }
    const takeStored = async () => {
      const records = await recordsInStreams(client, SHARDS);
      // The next run starts with an empty store, as this one did; no drain follows these streams.
      await client.flushall();
      return records;
    };
    return { name, grpcPort: api.grpcPort, pids, takeStored };
  }

  /** In reverse order; goes on after a failure, and rejects with the first. */
  async stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const stop of this.#stops.splice(0).reverse()) await stop().catch((cause: unknown) => failures.push(cause));
    rmSync(this.#dir, { recursive: true, force: true });
    if (failures.length > 0) throw failures[0];
  }

  async #database(name: string): Promise<{ pid: number; pool: Pool; url: string }> {
    if (this.#postgres === undefined) {
      const dataDir = join(this.#dir, "postgres");
      mkdirSync(dataDir, { recursive: true });
      this.#postgres = await startEmbeddedPostgres({ dataDir });
      this.#stops.push(() => this.#postgres?.stop() ?? Promise.resolve());
    }
    const admin = this.#openPool(this.#postgres.url("postgres"));
    await admin.query(`CREATE DATABASE ${name}`);
    const version = await admin.query<{ server_version: string }>("SHOW server_version");
    this.versions["postgres"] = version.rows[0]?.server_version ?? "unknown";
    const url = this.#postgres.url(name);
    const pool = this.#openPool(url);
    await migrate(pool);
    return { pid: this.#postgres.pid, pool, url };
  }

  #openPool(connectionString: string): Pool {
    const pool = openPool({
      connectionString,
      applicationName: "bench",
      maxConnections: 1,
      statementTimeoutMs: 60_000,
      onIdleError: () => {},
    });
    this.#stops.push(() => pool.end());
    return pool;
  }

  #serve(role: "api" | "drain", environment: Readonly<Record<string, string>>): Promise<ServerChild> {
    const anyPort = { GRPC_PORT: "0", HTTP_PORT: "0", OPS_PORT: "0" };
    const settings = { ...anyPort, METERING_SHARDS: String(SHARDS), ...environment };
    return this.#startChild([...this.#nodeArgs, CLI, "serve", "--roles", role], settings, "opsPort");
  }

  async #startChild(...args: Parameters<typeof startServerChild>): Promise<ServerChild> {
    const child = await startServerChild(...args);
    this.#stops.push(() => child.stop());
    return child;
  }
}

/** Counts what came to the ledger since the last time. */
function ledgerCount(pool: Pool): (acknowledged: number) => Promise<number> {
  let before = 0;
  return async (acknowledged) => {
    await drained(pool, before + acknowledged);
    const now = await recordsInLedger(pool);
    const records = now - before;
    before = now;
    // What this run left for the checkpointer is not to be paid for by the next one.
    await pool.query("CHECKPOINT");
    return records;
  };
}
