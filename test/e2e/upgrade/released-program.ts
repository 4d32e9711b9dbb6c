// A process of the program as it was last released, or as it is, at work on given stores.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { ROOT } from "../../clients/tools.ts";
import type { CommandEnvironment } from "../../support/command.ts";

/** The folder of the last release, unpacked until the test ends. */
export function unpackLastRelease(): string {
  const byVersion = (a: string, b: string) => a.localeCompare(b, "en", { numeric: true });
  const archive = globSync("test/fixtures/releases/*.tar.gz", { cwd: ROOT }).sort(byVersion).at(-1);
  if (archive === undefined) throw new Error("there is no release to upgrade from");
  const folder = mkdtempSync(join(tmpdir(), "metering-release-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  execFileSync("tar", ["-xzf", join(ROOT, archive), "-C", folder]);
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  return folder;
}

/** One version of the program. */
export class Program {
  readonly #folder: string;
  readonly #environment: CommandEnvironment;

  constructor(folder: string, environment: CommandEnvironment) {
    this.#folder = folder;
    this.#environment = environment;
  }

  /** Runs a command to its end; resolves to its exit code and all that it wrote. */
  async run(...args: string[]): Promise<{ exitCode: number | null; output: string }> {
    const child = this.#spawn(args);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => (output += text));
    await once(child, "close");
    return { exitCode: child.exitCode, output };
  }

  /** Starts its API and its drain on free ports; killed when the test ends. */
  async serve(): Promise<Server> {
    const child = this.#spawn(["serve", "--roles", "api,drain"]);
    const server = new Server(child);
    onTestFinished(() => void child.kill("SIGKILL"));
    await server.listening();
    return server;
  }

  #spawn(args: readonly string[]): ChildProcess {
    const { PATH = "" } = process.env;
    const ports = { GRPC_PORT: "0", HTTP_PORT: "0", OPS_PORT: "0" };
    return spawn(process.execPath, [join(this.#folder, "src/process/cli.ts"), ...args], {
      cwd: this.#folder,
      env: { PATH, ...ports, ...this.#environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
  }
}

export class Server {
  readonly #child: ChildProcess;
  #log = "";
  #url = "";

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => (this.#log += text));
  }

  get log(): string {
    return this.#log;
  }

  async listening(): Promise<void> {
    const found = () => /^.*"msg":"serving".*$/m.exec(this.#log)?.[0];
    await expect.poll(() => found() ?? this.#child.exitCode, { timeout: 60_000 }).toBeTruthy();
    const line = found();
    if (line === undefined) throw new Error(`it did not start:\n${this.#log}`);
    this.#url = `http://127.0.0.1:${(JSON.parse(line) as { httpPort: number }).httpPort}`;
  }

  /** Records one token of `model`. */
  async record(idempotencyKey: string, model = "m"): Promise<unknown> {
    const measurements = [{ meter: "input_tokens", quantity: "1" }];
    return await this.#call("RecordUsage", { record: { customerId: "acme", idempotencyKey, model, measurements } });
  }

  /** Tokens used in an interval. */
  async total(interval: { readonly startTime: string; readonly endTime: string }): Promise<number> {
    const answer = await this.#call("GetUsage", { customerId: "acme", interval });
    return Number((answer as { tokensUsed?: string }).tokensUsed ?? 0);
  }

  async #call(rpc: string, request: object): Promise<unknown> {
    const response = await fetch(`${this.#url}/metering.v1.MeteringService/${rpc}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    const body = await response.json();
    if (response.status !== 200) throw new Error(`${rpc}: ${JSON.stringify(body)}`);
    return body;
  }

  /** SIGTERM; resolves to the exit code. */
  async stop(): Promise<number | null> {
    const ended = once(this.#child, "close");
    this.#child.kill("SIGTERM");
    await ended;
    return this.#child.exitCode;
  }
}
