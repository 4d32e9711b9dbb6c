// The command line as its users run it: a process of its own, with an environment of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export type CommandEnvironment = Readonly<Record<string, string>>;

export interface CommandResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CLI = fileURLToPath(new URL("../../src/process/cli.ts", import.meta.url));
const LOG_CHARS_MAX = 200_000;

const running = new Set<ChildProcess>();
// Whatever a test forgot, or died before it could end.
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** One run of `metering <args>`, in the project's directory, with no setting but those given. */
export class CommandProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #stdout = "";
  #stderr = "";

  constructor(args: readonly string[], environment: CommandEnvironment) {
    const { PATH = "", HOME = "" } = process.env;
    this.#child = spawn(process.execPath, [CLI, ...args], {
      cwd: ROOT,
      env: { PATH, HOME, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(this.#child);
    this.#exited = once(this.#child, "close").then(() => void running.delete(this.#child));
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout = (this.#stdout + text).slice(-LOG_CHARS_MAX);
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-LOG_CHARS_MAX);
    });
  }

  /** What it has written so far, standard error last. */
  get output(): string {
    return this.#stdout + this.#stderr;
  }

  get isRunning(): boolean {
    return running.has(this.#child);
  }

  /** The first match in what it writes to stdout; rejects with its output when it ends without. */
  async waitForOutput(pattern: RegExp): Promise<RegExpExecArray> {
    while (true) {
      const found = pattern.exec(this.#stdout);
      if (found !== null) return found;
      if (!this.isRunning) throw new Error(`it ended without ${pattern}:\n${this.output}`);
      const more = this.#child.stdout === null ? this.#exited : once(this.#child.stdout, "data");
      await Promise.race([more, this.#exited]);
    }
  }

  async result(): Promise<CommandResult> {
    await this.#exited;
    return { exitCode: this.#child.exitCode, stdout: this.#stdout, stderr: this.#stderr };
  }

  /** Sends a signal to this process alone; SIGKILL and SIGTERM are waited for. */
  async signal(name: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    if (!this.isRunning) return;
    this.#child.kill(name);
    if (name === "SIGKILL" || name === "SIGTERM") await this.#exited;
  }
}

/** Runs `metering <args>` to its end. */
export function runCommand(args: readonly string[], environment: CommandEnvironment): Promise<CommandResult> {
  return new CommandProcess(args, environment).result();
}
