// A server that this process starts, outlives if it must, and finds again: the record file beside its data says which process it is.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { endProcess, processIdentity } from "../process-identity.ts";

/** How to start and stop one server. */
export interface ServerCommand {
  /** For messages, for example "PostgreSQL". */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Gets the server's output, appended. */
  readonly logFile: string;
  /** Remembers the running process, for a start after this one was killed. */
  readonly recordFile: string;
  /** Asks the server to end soon and cleanly. */
  readonly stopSignal: NodeJS.Signals;
}

export interface ServerProcess {
  readonly pid: number;
  /** Resolves, never rejects, when the server has ended for whatever reason. */
  readonly exited: Promise<void>;
  /** Resolves when the server has ended; kills it hard when it takes over 30 s. All callers share one stop. */
  stop(): Promise<void>;
}

const STOP_TIMEOUT_MS = 30_000;
const LOG_TAIL_CHARS = 2_000;

/**
 * Ends the server that an earlier process left running, if the record file names one that still lives. The record is bound to the
 * process's start time, so that no stranger with the same pid is hit.
 */
export async function endOrphan(name: string, recordFile: string, stopSignal: NodeJS.Signals): Promise<void> {
  const record = readRecord(recordFile);
  if (record === undefined) return;
  const { pid, identity } = record;
  if (!(await endProcess(pid, identity, stopSignal, STOP_TIMEOUT_MS)))
    if (!(await endProcess(pid, identity, "SIGKILL", STOP_TIMEOUT_MS)))
      throw new Error(`an earlier ${name} (pid ${pid}) does not end`);
  rmSync(recordFile, { force: true });
}

/**
 * Starts the server and waits for `ready`. When it ends before that, or `ready` rejects, it is stopped and this rejects with the last
 * lines of its log.
 */
export async function startServerProcess(
  options: ServerCommand,
  ready: (signal: AbortSignal, pid: number) => Promise<void>,
): Promise<ServerProcess> {
  const child = await launch(options);
  const pid = child.pid ?? 0;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const identity = await processIdentity(pid);
  if (identity !== undefined) writeFileSync(options.recordFile, JSON.stringify({ pid, identity }));
  let stopping: Promise<void> | undefined;
  const server: ServerProcess = {
    pid,
    exited,
    stop() {
      stopping ??= stopChild(child, exited, options);
      return stopping;
    },
  };
  const abort = new AbortController();
  const endedEarly = exited.then(() => {
    throw new Error("it ended at once");
  });
  try {
    await Promise.race([ready(abort.signal, pid), endedEarly]);
    return server;
  } catch (cause) {
    await server.stop();
    const tail = readFileSync(options.logFile, "utf8").slice(-LOG_TAIL_CHARS).trim();
    throw new Error(`${options.name} did not start; the end of ${options.logFile}:\n${tail}`, { cause });
  } finally {
    abort.abort();
    endedEarly.catch(() => {});
  }
}

async function launch(options: ServerCommand): Promise<ChildProcess> {
  const log = openSync(options.logFile, "a", 0o600);
  try {
    const child = spawn(options.command, options.args, {
      cwd: options.cwd,
      stdio: ["ignore", log, log],
      // A session of its own: Ctrl-C in the terminal must reach this process alone, which then stops the server last.
      detached: true,
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
    await once(child, "spawn");
    return child;
  } catch (cause) {
    throw new Error(`${options.name} cannot be started: ${(cause as Error).message}`, { cause });
  } finally {
    closeSync(log);
  }
}

async function stopChild(child: ChildProcess, exited: Promise<void>, options: ServerCommand): Promise<void> {
  const kill = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  if (child.exitCode === null && child.signalCode === null) {
    child.kill(options.stopSignal);
    await exited;
  }
  clearTimeout(kill);
  rmSync(options.recordFile, { force: true });
}

function readRecord(recordFile: string): { pid: number; identity: string } | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(recordFile, "utf8"));
    if (typeof record !== "object" || record === null || !("pid" in record) || !("identity" in record))
      return undefined;
    const { pid, identity } = record;
    return Number.isSafeInteger(pid) && typeof identity === "string" ? { pid: Number(pid), identity } : undefined;
  } catch {
    // Absent, or cut short by a crash: then no server was running that we could prove to be ours.
    return undefined;
  }
}
