// A Redis (or Valkey) of our own, where the machine has the program. For `metering dev` and for tests. No npm package ships one.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { ensurePassword } from "./password-file.ts";
import { endOrphan, startServerProcess } from "./server-process.ts";

export interface EmbeddedRedisOptions {
  /** As findRedisProgram gave it. */
  readonly program: string;
  /** Made when absent. Holds the append-only files, password, log and the record of the running server; one server at a time. */
  readonly dataDir: string;
  /** Of 127.0.0.1. Default: a free one. */
  readonly port?: number;
}

export interface EmbeddedRedis {
  readonly pid: number;
  readonly port: number;
  /** With password. */
  readonly url: string;
  /** Resolves, never rejects, when the server has ended for whatever reason. */
  readonly exited: Promise<void>;
  /** Ends the server cleanly; the data stays. */
  stop(): Promise<void>;
}

const PROGRAMS = ["redis-server", "valkey-server"];
const STOP_SIGNAL = "SIGTERM";
const READY_POLL_MS = 10;

/** The first of redis-server and valkey-server on the PATH that runs; undefined when there is none. */
export async function findRedisProgram(): Promise<string | undefined> {
  for (const program of PROGRAMS) {
    try {
      await promisify(execFile)(program, ["--version"]);
      return program;
    } catch {
      // Not there, or broken: try the next.
    }
  }
  return undefined;
}

/**
 * Starts the server on `dataDir` and resolves once it has read its data and answers. Every write is on disk before its answer, and
 * nothing is ever evicted. A server that a killed process left running there is stopped first. Rejects with the log's end, leaving none running.
 */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const home = resolve(options.dataDir);
  const recordFile = join(home, "server.json");
  mkdirSync(home, { recursive: true, mode: 0o700 });
  await endOrphan("Redis", recordFile, STOP_SIGNAL);
  const port = options.port ?? (await freePort());
  const password = ensurePassword(home);
  const configFile = join(home, "redis.conf");
  writeFileSync(configFile, configuration(home, port, password), { mode: 0o600 });
  const { pid, exited, stop } = await startServerProcess(
    {
      name: "Redis",
      command: options.program,
      args: [configFile],
      cwd: home,
      logFile: join(home, "redis.log"),
      recordFile,
      stopSignal: STOP_SIGNAL,
    },
    (signal) => answers(port, password, signal),
  );
  return { pid, port, url: `redis://:${password}@127.0.0.1:${port}`, exited, stop };
}

/** In a file, not on the command line, where every user of the machine could read the password. */
function configuration(home: string, port: number, password: string): string {
  return `bind 127.0.0.1
port ${port}
requirepass ${password}
dir ${JSON.stringify(home)}
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
save ""
maxmemory 0
maxmemory-policy noeviction
daemonize no
`;
}

async function answers(port: number, password: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (await pings(port, password)) return;
    await delay(READY_POLL_MS);
  }
}

/** Whether the server on this port is the one with our password, and has read its data. */
async function pings(port: number, password: string): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    socket.end(`AUTH ${password}\r\nPING\r\nQUIT\r\n`);
    let answer = "";
    for await (const chunk of socket) answer += String(chunk);
    return answer.includes("+PONG");
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
