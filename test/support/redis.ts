// A Redis server of a test file's own, as durable as production asks for, to be killed, paused and restarted.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { describe } from "vitest";

export interface RedisServer {
  /** Stays the same over restarts. */
  readonly url: string;
  readonly port: number;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts again on the same port and data; resolves when it has loaded them. */
  start(): Promise<void>;
  /** Kills, deletes all data, starts: a store that comes back empty. */
  wipe(): Promise<void>;
  /** SIGSTOP: connections stay, nothing answers. */
  pause(): void;
  resume(): void;
  /** One command on a connection of its own. */
  command(...args: [string, ...(string | number)[]]): Promise<unknown>;
  /** Kills and deletes all data. */
  close(): Promise<void>;
}

const DURABLE = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", ""];

function findServer(): string | undefined {
  return ["redis-server", "valkey-server"].find((name) => spawnSync(name, ["--version"]).status === 0);
}

const SERVER = findServer();

/** A describe that is skipped where no Redis is installed; under CI it runs, and fails, there too. */
export const describeWithRedis = describe.skipIf(SERVER === undefined && process.env["CI"] === undefined);

/** Starts a server; the caller closes it. `args` come after, and so overrule, the durable settings. */
export async function startRedis(args: readonly string[] = []): Promise<RedisServer> {
  if (SERVER === undefined) {
    throw new Error(
      "no redis-server or valkey-server on the PATH: apt-get install redis-server, or brew install redis",
    );
  }
  const dir = mkdtempSync(join(tmpdir(), "metering-test-redis-"));
  for (let attempt = 0; ; attempt += 1) {
    const server = new LocalRedis(SERVER, await freePort(), dir, args);
    try {
      await server.start();
      return server;
    } catch (cause) {
      // Somebody else took the port in between.
      if (attempt === 4) throw cause;
    }
  }
}

class LocalRedis implements RedisServer {
  readonly port: number;
  readonly #executable: string;
  readonly #dir: string;
  readonly #args: readonly string[];
  #process: ChildProcess | undefined;

  constructor(executable: string, port: number, dir: string, args: readonly string[]) {
    this.port = port;
    this.#executable = executable;
    this.#dir = dir;
    this.#args = args;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const address = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.#dir];
    const child = spawn(this.#executable, [...address, ...DURABLE, ...this.#args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    // Not to outlive a test run that ends before its time.
    process.once("exit", () => child.kill("SIGKILL"));
    let output = "";
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`${this.#executable} ended: ${output}`)));
      child.stdout?.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes("Ready to accept connections")) resolve();
      });
    });
    child.removeAllListeners("exit");
    child.stdout?.removeAllListeners("data").resume();
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  async wipe(): Promise<void> {
    await this.kill();
    rmSync(join(this.#dir, "appendonlydir"), { recursive: true, force: true });
    await this.start();
  }

  pause(): void {
    this.#process?.kill("SIGSTOP");
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  async command(...[name, ...args]: [string, ...(string | number)[]]): Promise<unknown> {
    const client = new Redis(this.url);
    try {
      return await client.call(name, ...args);
    } finally {
      client.disconnect();
    }
  }

  async close(): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
