// Where streams are measured: PostgreSQL, Redis, replicas of the service and a drain, all processes of their own, with one database.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findRedisProgram, startEmbeddedRedis } from "../../src/process/embedded/embedded-redis.ts";
import { createDatabase, startPostgres } from "../billing/database.ts";
import { type ServerChild, startServerChild } from "../child.ts";

/** What runs. */
export interface Stage {
  /** Serve the API. */
  readonly replicas: readonly ServerChild[];
  /** Whose CPU time is told, by what it is. */
  readonly pids: Readonly<Record<string, number>>;
  /** Ends everything that was started and removes its data. */
  stop(): Promise<void>;
}

const CLI = fileURLToPath(new URL("../../src/process/cli.ts", import.meta.url));

/** Undefined where this machine has no Redis. */
export async function startStage(replicaCount: number): Promise<Stage | undefined> {
  const program = await findRedisProgram();
  if (program === undefined) return undefined;
  const dir = mkdtempSync(join(tmpdir(), "metering-bench-"));
  /** In order of the start. */
  const stops: (() => Promise<unknown>)[] = [];
  async function stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const end of stops.splice(0).reverse()) await end().catch((cause: unknown) => failures.push(cause));
    rmSync(dir, { recursive: true, force: true });
    if (failures.length > 0) throw failures[0];
  }
  async function serve(role: "api" | "drain", settings: Readonly<Record<string, string>>): Promise<ServerChild> {
    const anyPort = { GRPC_PORT: "0", HTTP_PORT: "0", OPS_PORT: "0" };
    const child = await startServerChild([CLI, "serve", "--roles", role], { ...anyPort, ...settings }, "opsPort");
    stops.push(() => child.stop());
    return child;
  }
  try {
    const postgres = await startPostgres(dir);
    stops.push(() => postgres.stop());
    const database = await createDatabase(postgres, "bench_streams");
    stops.push(() => database.drop());
    const redis = await startEmbeddedRedis({ program, dataDir: join(dir, "redis") });
    stops.push(() => redis.stop());
    const stores = { DATABASE_URL: database.url, REDIS_URL: redis.url };
    const replicas: ServerChild[] = [];
    while (replicas.length < replicaCount) replicas.push(await serve("api", stores));
    const drain = await serve("drain", stores);
    const apis = Object.fromEntries(replicas.map(({ pid }, i) => [`api ${i + 1}`, pid]));
    return { replicas, pids: { ...apis, drain: drain.pid, redis: redis.pid, postgres: postgres.pid }, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}
