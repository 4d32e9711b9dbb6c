// One process of the deployment, kept alive as an orchestrator would: started again when it ends, until it is told to stay down.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const CLI = fileURLToPath(new URL("../src/process/cli.ts", import.meta.url));
/** Between an end that nobody asked for and the next start. */
const RESTART_MS = 300;
const READY_POLL_MS = 100;

export interface ProgramOptions {
  readonly name: string;
  /** A file that Node runs, and its arguments. */
  readonly args: readonly string[];
  /** Beside PATH and HOME. */
  readonly environment: Readonly<Record<string, string>>;
  /** Gets what it writes, appended. */
  readonly logFile: string;
  /** Says yes once it works; undefined: as soon as it runs. */
  readonly isReady?: () => Promise<boolean>;
}

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Arguments that run `metering <args>`. */
export function metering(...args: readonly string[]): readonly string[] {
  return [CLI, ...args];
}

export class Program {
  readonly name: string;
  readonly #options: ProgramOptions;
  #child: ChildProcess | undefined;
  #gone: Promise<unknown> = Promise.resolve();
  #wanted = false;
  #ready: ChildProcess | undefined;
  /** Ends that nobody asked for, after it had been ready. */
  readonly crashes: { readonly atMs: number; readonly how: string }[] = [];

  constructor(options: ProgramOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Of the process that runs now. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Whether the process that runs now has been ready once. */
  get isReady(): boolean {
    return this.#child !== undefined && this.#ready === this.#child;
  }

  start(): void {
    this.#wanted = true;
    if (this.#child === undefined) this.#spawn();
  }

  /** Resolves once it is ready; rejects after `limitMs`. */
  async untilReady(limitMs: number): Promise<void> {
    const untilMs = Date.now() + limitMs;
    while (!this.isReady) {
      if (Date.now() > untilMs) throw new Error(`${this.name} is not ready after ${limitMs / 1000} s`);
      await delay(READY_POLL_MS);
    }
  }

  /** Ends it and keeps it down; resolves to its exit code, null where the signal ended it, once it is gone. */
  async stop(signal: "SIGKILL" | "SIGTERM", limitMs = Number.POSITIVE_INFINITY): Promise<number | null> {
    this.#wanted = false;
    const child = this.#child;
    if (child === undefined) return null;
    child.kill(signal);
    const kill = Number.isFinite(limitMs) ? setTimeout(() => child.kill("SIGKILL"), limitMs) : undefined;
    await this.#gone;
    clearTimeout(kill);
    return child.exitCode;
  }

  /** SIGSTOP or SIGCONT. */
  signal(name: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(name);
  }

  async #watch(child: ChildProcess): Promise<void> {
    while (this.#child === child) {
      if ((await this.#options.isReady?.()) ?? true) {
        this.#ready = child;
        return;
      }
      await delay(READY_POLL_MS);
    }
  }

  #spawn(): void {
    const { args, environment, logFile } = this.#options;
    const { PATH = "", HOME = "" } = process.env;
    const log = openSync(logFile, "a");
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { PATH, HOME, ...environment },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    running.add(child);
    this.#child = child;
    void this.#watch(child);
    this.#gone = once(child, "exit").then(([code, signal]) => this.#ended(child, code, signal));
  }

  #ended(child: ChildProcess, code: unknown, signal: unknown): void {
    running.delete(child);
    this.#child = undefined;
    if (!this.#wanted) return;
    if (this.#ready === child) this.crashes.push({ atMs: Date.now(), how: `exit code ${code}, signal ${signal}` });
    setTimeout(() => {
      if (this.#wanted && this.#child === undefined) this.#spawn();
    }, RESTART_MS);
  }
}
