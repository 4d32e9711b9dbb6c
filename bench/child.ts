// Processes of the bench: servers, which say their port on stdout as JSON, and the load generator.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { processEnvironment } from "../src/process/config/environment.ts";
import type { LoadResult, LoadSpec } from "./load.ts";

/** The repository, where the service finds its configuration. */
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const LINES_KEPT = 20;

/** What a server says on stdout once it serves. */
export interface Announcement {
  readonly grpcPort?: number;
  readonly opsPort?: number;
  readonly stripePort?: number;
  readonly customers?: readonly string[];
}

export interface ServerChild {
  readonly pid: number;
  /** 0 where it serves no gRPC. */
  readonly grpcPort: number;
  readonly said: Announcement;
  /** Rejects when the process did not end cleanly. Safe to repeat. */
  stop(): Promise<void>;
}

/** Starts a Node process and resolves once a line of its output names `announced`. Rejects with its last lines if it ends before. */
export async function startServerChild(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  announced: "grpcPort" | "opsPort" | "stripePort",
): Promise<ServerChild> {
  const env = { ...processEnvironment(), ...environment };
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  const exited = once(child, "exit");
  const ready = Promise.withResolvers<Announcement>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    if (lines.length > LINES_KEPT) lines.shift();
    const said = JSON.parse(line) as Announcement;
    if (said[announced] !== undefined) ready.resolve(said);
  });
  exited.then(() => ready.reject(new Error(`${args.join(" ")} ended:\n${lines.join("\n")}`)));
  const said = await ready.promise;
  return { pid: child.pid ?? 0, grpcPort: said.grpcPort ?? 0, said, stop: () => stopChild(child, exited, lines) };
}

async function stopChild(child: ChildProcess, exited: Promise<unknown>, lines: readonly string[]): Promise<void> {
  child.kill("SIGTERM");
  await exited;
  if (child.exitCode !== 0) throw new Error(`process ${child.pid} ended badly:\n${lines.join("\n")}`);
}

/** Runs the load generator to its end. */
export async function runLoad(spec: LoadSpec): Promise<LoadResult> {
  const script = fileURLToPath(new URL("load.ts", import.meta.url));
  return JSON.parse(await runToEnd([script, JSON.stringify(spec)])) as LoadResult;
}

/** Runs a Node process to its end; what it printed. Rejects where it failed. */
export async function runToEnd(args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, args)).stdout;
}
