// The service as it is deployed: real processes on real stores, to be killed, paused and restarted.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type CommandEnvironment, CommandProcess } from "./command.ts";
import { createTestDatabase } from "./postgres.ts";
import { type RedisServer, startRedis } from "./redis.ts";

export interface ServiceOptions {
  readonly intake: "redis" | "postgres";
  /** Roles of each process. Default: one process with all of them. */
  readonly processes?: readonly string[];
  /** A migrated database. Default: one of its own on the run's server, dropped by close(). */
  readonly databaseUrl?: string;
  /** Where the service takes Stripe to be, given where the simulator is. Default: there. */
  readonly stripeApiBase?: (simulatorUrl: string) => string;
  readonly environment?: CommandEnvironment;
}

const ALL_ROLES = "api,drain,flush,webhooks";
const READY_POLL_MS = 50;
const READY_TIMEOUT_MS = 60_000;
/** What Stripe's snapshot events are signed with. */
export const WEBHOOK_SECRET = "whsec_test";

/** A process that keeps its ports over restarts. */
export class ServiceProcess {
  readonly roles: string;
  readonly #environment: CommandEnvironment;
  #ports: CommandEnvironment = { GRPC_PORT: "0", HTTP_PORT: "0", WEBHOOK_PORT: "0", OPS_PORT: "0" };
  #process: CommandProcess | undefined;
  #log = "";

  constructor(roles: string, environment: CommandEnvironment) {
    this.roles = roles;
    this.#environment = environment;
  }

  get grpcTarget(): string {
    return `127.0.0.1:${this.#ports["GRPC_PORT"]}`;
  }

  get httpUrl(): string {
    return `http://127.0.0.1:${this.#ports["HTTP_PORT"]}`;
  }

  get webhookUrl(): string {
    return `http://127.0.0.1:${this.#ports["WEBHOOK_PORT"]}`;
  }

  get opsUrl(): string {
    return `http://127.0.0.1:${this.#ports["OPS_PORT"]}`;
  }

  /** What it has written, over all its runs. */
  get log(): string {
    return this.#log + (this.#process?.output ?? "");
  }

  /** Starts it and waits until /readyz says yes. */
  async start(): Promise<void> {
    const child = new CommandProcess(["serve", "--roles", this.roles], { ...this.#environment, ...this.#ports });
    this.#process = child;
    const [line] = await child.waitForOutput(/^.*"msg":"serving".*$/m);
    const { grpcPort = 0, httpPort = 0, webhookPort = 0, opsPort } = JSON.parse(line);
    const ports = { GRPC_PORT: grpcPort, HTTP_PORT: httpPort, WEBHOOK_PORT: webhookPort, OPS_PORT: opsPort };
    this.#ports = Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, String(port)]));
    await this.waitUntilReady();
  }

  /** Whether /readyz says yes now. */
  async isReady(): Promise<boolean> {
    const answer = await fetch(`${this.opsUrl}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
    return answer?.status === 200;
  }

  /** By itself, within a minute; rejects with the log else. */
  async waitUntilReady(): Promise<void> {
    const until = Date.now() + READY_TIMEOUT_MS;
    while (!(await this.isReady())) {
      if (Date.now() > until || this.#process?.isRunning === false)
        throw new Error(`a process with ${this.roles} did not become ready:\n${this.log}`);
      await delay(READY_POLL_MS);
    }
  }

  /** Value of a counter or gauge, all its label sets added up; 0 where it is not there. */
  async metric(name: string): Promise<number> {
    const text = await fetch(`${this.opsUrl}/metrics`).then((answer) => answer.text());
    const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  /** SIGKILL and SIGTERM are waited for, and resolve to the exit code: null where the signal ended it. */
  async signal(name: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): Promise<number | null> {
    const child = this.#process;
    await child?.signal(name);
    if (name !== "SIGKILL" && name !== "SIGTERM") return null;
    const exitCode = child === undefined ? null : (await child.result()).exitCode;
    this.#log = this.log;
    this.#process = undefined;
    return exitCode;
  }
}

/** The simulated Stripe as a process; its state and its port outlive it. */
export class SimulatorProcess {
  readonly #dataFile: string;
  #port = "0";
  #process: CommandProcess | undefined;

  constructor(dataFile: string) {
    this.#dataFile = dataFile;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const args = ["stripe-simulator", "--json", "--data", this.#dataFile];
    this.#process = new CommandProcess(args, { STRIPE_SIMULATOR_PORT: this.#port });
    const [, url = ""] = await this.#process.waitForOutput(/^\{"url":"(.*)"\}$/m);
    this.#port = new URL(url).port;
  }

  async kill(): Promise<void> {
    await this.#process?.signal("SIGKILL");
  }
}

/** A deployment. The caller closes it. */
export class Service {
  readonly processes: readonly ServiceProcess[];
  readonly simulator: SimulatorProcess;
  /** Undefined with Postgres intake. */
  readonly redis: RedisServer | undefined;
  /** For commands that work on this deployment. */
  readonly environment: CommandEnvironment;

  constructor(
    processes: readonly ServiceProcess[],
    simulator: SimulatorProcess,
    redis: RedisServer | undefined,
    environment: CommandEnvironment,
  ) {
    this.processes = processes;
    this.simulator = simulator;
    this.redis = redis;
    this.environment = environment;
  }

  /** The first process that serves callers. */
  get api(): ServiceProcess {
    const [api] = this.#apis;
    if (api === undefined) throw new Error("no process has the role api");
    return api;
  }

  /** Where callers reach it, as `metering replay --target` takes it. */
  get targets(): string {
    return this.#apis.map((process) => process.grpcTarget).join(",");
  }

  /** Warnings and errors of all processes, for messages of failed tests. */
  get complaints(): string {
    const lines = this.processes.flatMap((process) => process.log.split("\n"));
    return lines.filter((line) => /^(?!\{"level":[123]0)./.test(line)).join("\n");
  }

  get #apis(): readonly ServiceProcess[] {
    return this.processes.filter((process) => process.roles.includes("api"));
  }

  /** SIGKILL to every process of the service, the simulator too; the stores live on. */
  async killAll(): Promise<void> {
    await Promise.all([this.simulator.kill(), ...this.processes.map((process) => process.signal("SIGKILL"))]);
  }

  /** Starts them again, where they were. */
  async startAll(): Promise<void> {
    await this.simulator.start();
    await Promise.all(this.processes.map((process) => process.start()));
  }
}

export interface RunningService {
  readonly service: Service;
  /** Ends all of it and deletes its data. */
  close(): Promise<void>;
}

/** Brings up a deployment with a simulated Stripe and waits until all of it is ready. Flushes every second. */
export async function startService(options: ServiceOptions): Promise<RunningService> {
  const closers: (() => unknown)[] = [];
  const close = async () => {
    for (const end of closers.reverse()) await end();
  };
  try {
    const dir = mkdtempSync(join(tmpdir(), "metering-test-service-"));
    closers.push(() => rmSync(dir, { recursive: true, force: true }));
    const simulator = new SimulatorProcess(join(dir, "simulator.jsonl"));
    closers.push(() => simulator.kill());
    await simulator.start();
    const database = options.databaseUrl === undefined ? await createTestDatabase() : undefined;
    if (database !== undefined) closers.push(() => database.close());
    const redis = options.intake === "redis" ? await startRedis() : undefined;
    if (redis !== undefined) closers.push(() => redis.close());
    const environment = {
      DATABASE_URL: options.databaseUrl ?? database?.url ?? "",
      REDIS_URL: redis?.url ?? "",
      METERING_INTAKE: options.intake,
      STRIPE_SECRET_KEY: "sk_test_service",
      STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
      STRIPE_API_BASE: options.stripeApiBase?.(simulator.url) ?? simulator.url,
      METERING_FLUSH_INTERVAL: "1s",
      METERING_DATA_DIR: join(dir, "data"),
      ...options.environment,
    };
    const processes = (options.processes ?? [ALL_ROLES]).map((roles) => new ServiceProcess(roles, environment));
    for (const process of processes) closers.push(() => process.signal("SIGKILL"));
    await Promise.all(processes.map((process) => process.start()));
    const service = new Service(processes, simulator, redis, { ...environment, STRIPE_API_BASE: simulator.url });
    return { service, close };
  } catch (cause) {
    await close();
    throw cause;
  }
}
