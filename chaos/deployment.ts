// What runs: stores, the simulated Stripe, the service in five processes, its clients; every connection between them goes through a proxy.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { migrate } from "../src/postgres/migrate.ts";
import { openPool, type Pool } from "../src/postgres/pool.ts";
import type { ClientOrders } from "./client.ts";
import { makeCustomers } from "./customers.ts";
import { Network, type ServicePorts, type StoreUrls } from "./network.ts";
import { Ports } from "./ports.ts";
import { metering, Program } from "./program.ts";
import { WATCH_STALE_WRITES } from "./stale-writes.ts";
import { PostgresStore, RedisStore } from "./stores.ts";
import { CLIENTS, type ProgramName, SERVICES, type ServiceName } from "./timeline.ts";
import type { Payer } from "./usage.ts";

/** Less than any pause of a leader: see timeline.ts. */
const LEASE_TTL_MS = 3_000;
export const SHARD_COUNT = 4;
const KEY = "sk_test_chaos";
const SECRET = "whsec_chaos";
const THIN_SECRET = "whsec_chaos_thin";
const CLIENT_SCRIPT = fileURLToPath(new URL("client.ts", import.meta.url));
const METERING_CONFIG = fileURLToPath(new URL("metering.config.json", import.meta.url));
const READY_MS = 120_000;
/** Until a draft invoice is final. */
const INVOICE_GRACE_MS = 60_000;
/** Calls a second of each client; one in ten is a batch. */
const CALLS_PER_SECOND = 15;

const ROLES: Record<ServiceName, string> = {
  "api-1": "api",
  "api-2": "api",
  "worker-1": "drain,flush",
  "worker-2": "drain,flush",
  webhooks: "webhooks",
};

export interface DeploymentOptions {
  readonly dir: string;
  readonly seed: number;
  /** Of the faults. */
  readonly lengthMs: number;
  readonly sink: "v1" | "stream";
}

/** What does not change while it runs. */
interface Parts {
  readonly redis: RedisStore;
  readonly postgres: PostgresStore;
  /** Straight to the database, past the proxies. */
  readonly pool: Pool;
  readonly network: Network;
  /** Where the stores are, past the proxies. */
  readonly stores: StoreUrls;
  readonly servicePorts: ServicePorts;
  readonly options: DeploymentOptions;
}

export class Deployment {
  readonly redis: RedisStore;
  readonly postgres: PostgresStore;
  readonly pool: Pool;
  readonly network: Network;
  /** host:port of each API, past the proxies. */
  readonly apiTargets: readonly string[];
  /** For commands, past the proxies. */
  readonly environment: Readonly<Record<string, string>>;
  readonly programs = new Map<ProgramName, Program>();
  payers: readonly Payer[] = [];
  readonly journals: readonly string[];
  readonly #stores: StoreUrls;

  constructor({ redis, postgres, pool, network, stores, servicePorts, options }: Parts) {
    this.redis = redis;
    this.postgres = postgres;
    this.pool = pool;
    this.network = network;
    this.#stores = stores;
    this.apiTargets = (["api-1", "api-2"] as const).map((api) => `127.0.0.1:${servicePorts.get(api)?.["GRPC_PORT"]}`);
    this.environment = environmentOf(stores, options);
    this.journals = CLIENTS.map((name) => join(options.dir, `${name}.jsonl`));
  }

  program(name: ProgramName): Program {
    const program = this.programs.get(name);
    if (program === undefined) throw new Error(`there is no process ${name}`);
    return program;
  }

  /** Asks the simulated Stripe's control interface; rejects where it is away. */
  async control(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(new URL(`/_simulator/${path}`, this.#stores.stripe), {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      signal: AbortSignal.timeout(60_000),
    });
    if (!answer.ok) throw new Error(`the simulator answers ${answer.status} to ${path}: ${await answer.text()}`);
    return answer.json();
  }

  /** Ends all of it; the data stays. */
  async close(): Promise<void> {
    await Promise.all([...this.programs.values()].map((program) => program.stop("SIGKILL")));
    await this.network.close();
    await this.pool.end().catch(() => {});
    await this.redis.down("SIGTERM");
    await this.postgres.down("SIGINT");
  }
}

/** Brings all of it up and resolves when it is ready, but for the clients, which are not started. What runs ends with this process. */
export async function deploy(options: DeploymentOptions): Promise<Deployment> {
  const { dir, seed, lengthMs } = options;
  mkdirSync(join(dir, "logs"), { recursive: true });
  const ports = new Ports(process.pid * 37 + seed);
  const redis = await RedisStore.start(join(dir, "redis"), await ports.take());
  const postgres = await PostgresStore.start(join(dir, "postgres"), await ports.take());
  const pool = openPool({
    connectionString: postgres.url,
    applicationName: "chaos",
    maxConnections: 8,
    statementTimeoutMs: 60_000,
    onIdleError: () => {},
  });
  await migrate(pool);
  await pool.query(WATCH_STALE_WRITES);
  const stripeUrl = new URL(`http://127.0.0.1:${await ports.take()}`);
  const stores = { redis: new URL(redis.url), postgres: new URL(postgres.url), stripe: stripeUrl };
  const servicePorts = new Map<ServiceName, Record<string, string>>();
  for (const service of SERVICES) servicePorts.set(service, await portsOf(ports));
  const network = await Network.build(ports, servicePorts, stores);
  const parts = { redis, postgres, pool, network, stores, servicePorts, options };
  const deployment = new Deployment(parts);
  const { programs } = deployment;

  programs.set("stripe", stripeProgram(parts));
  await started(deployment, ["stripe"]);
  await deployment.control("POST", "settings", { invoiceGraceMs: INVOICE_GRACE_MS });
  for (const service of SERVICES) programs.set(service, serviceProgram(service, parts));
  await started(deployment, SERVICES);
  const customers = { apiBase: stripeUrl, secretKey: KEY, seed, lengthMs, nowMs: Date.now() };
  deployment.payers = await makeCustomers(customers);
  for (const [i, name] of CLIENTS.entries())
    programs.set(name, clientProgram(name, deployment, { seed, client: i + 1, dir }));
  return deployment;
}

async function started(deployment: Deployment, names: readonly ProgramName[]): Promise<void> {
  for (const name of names) deployment.program(name).start();
  for (const name of names) await deployment.program(name).untilReady(READY_MS);
}

function stripeProgram({ network, stores, options }: Parts): Program {
  const webhookUrl = `http://${network.address("webhooks")}/webhooks/stripe`;
  const data = ["--data", join(options.dir, "stripe.jsonl")];
  const webhooks = ["--webhook-url", webhookUrl, "--thin-webhook-url", `${webhookUrl}/thin`];
  return new Program({
    name: "stripe",
    args: metering("stripe-simulator", "--json", ...data, ...webhooks),
    environment: {
      STRIPE_SIMULATOR_PORT: stores.stripe.port,
      STRIPE_WEBHOOK_SECRET: SECRET,
      STRIPE_THIN_WEBHOOK_SECRET: THIN_SECRET,
      METERING_CONFIG,
    },
    logFile: logOf("stripe", options),
    isReady: () => answers(`${stores.stripe.origin}/_simulator/faults`),
  });
}

function serviceProgram(service: ServiceName, { network, servicePorts, options }: Parts): Program {
  const ports = servicePorts.get(service) ?? {};
  return new Program({
    name: service,
    args: metering("serve", "--roles", ROLES[service]),
    environment: { ...environmentOf(network.storesOf(service), options), ...ports },
    logFile: logOf(service, options),
    isReady: () => answers(`http://127.0.0.1:${ports["OPS_PORT"]}/readyz`),
  });
}

function clientProgram(
  name: ProgramName,
  { network, payers, journals }: Deployment,
  { seed, client, dir }: { readonly seed: number; readonly client: number; readonly dir: string },
): Program {
  const orders: ClientOrders = {
    seed,
    client,
    targets: `${network.address("api-1")},${network.address("api-2")}`,
    journal: journals[client - 1] ?? "",
    payers,
    callsPerSecond: CALLS_PER_SECOND,
  };
  const args = [CLIENT_SCRIPT, JSON.stringify(orders)];
  return new Program({ name, args, environment: {}, logFile: logOf(name, { dir }) });
}

function logOf(name: ProgramName, { dir }: Pick<DeploymentOptions, "dir">): string {
  return join(dir, "logs", `${name}.log`);
}

/** Short intervals, so that money flows within seconds. */
function environmentOf(stores: StoreUrls, { dir, sink }: DeploymentOptions): Record<string, string> {
  return {
    DATABASE_URL: stores.postgres.href,
    REDIS_URL: stores.redis.href,
    STRIPE_API_BASE: stores.stripe.origin,
    METERING_DATA_DIR: join(dir, "data"),
    METERING_INTAKE: "redis",
    METERING_CONFIG,
    METERING_SHARDS: String(SHARD_COUNT),
    STRIPE_SECRET_KEY: KEY,
    STRIPE_WEBHOOK_SECRET: SECRET,
    STRIPE_THIN_WEBHOOK_SECRET: THIN_SECRET,
    STRIPE_SINK: sink,
    METERING_FLUSH_INTERVAL: "2s",
    METERING_RECONCILE_INTERVAL: "2s",
    METERING_RECONCILE_LAG: "5s",
    // What is to be seen is whether it is made up for, not whether a person is asked first.
    METERING_REPAIR_LIMIT: "999999999999",
    METERING_LEASE_TTL: `${LEASE_TTL_MS}ms`,
    METERING_LEASE_RENEW: "900ms",
    METERING_STATEMENT_TIMEOUT: "5s",
    METERING_SHUTDOWN_GRACE: "15s",
  };
}

async function portsOf(ports: Ports): Promise<Record<string, string>> {
  const of: Record<string, string> = {};
  for (const name of ["GRPC_PORT", "HTTP_PORT", "WEBHOOK_PORT", "OPS_PORT"]) of[name] = String(await ports.take());
  return of;
}

async function answers(url: string): Promise<boolean> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(3_000) }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => {});
  return answer?.status === 200;
}
