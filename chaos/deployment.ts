// What runs: stores, the simulated Stripe, the service in five processes, its clients; every connection between them goes through a proxy.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Stripe from "stripe";
import { EVENT_NAMES } from "../simulation/catalog.ts";
import { Random } from "../simulation/random.ts";
import { migrate } from "../src/postgres/migrate.ts";
import { openPool, type Pool } from "../src/postgres/pool.ts";
import { openStripe } from "../src/stripe/client.ts";
import { ensureMeters } from "../src/stripe/meters.ts";
import type { ClientOrders } from "./client.ts";
import { Ports } from "./ports.ts";
import { metering, Program } from "./program.ts";
import { FaultyProxy } from "./proxy.ts";
import { PostgresStore, RedisStore } from "./stores.ts";
import { CLIENTS, type LinkName, type ProgramName, SERVICES, type ServiceName } from "./timeline.ts";
import type { Payer } from "./usage.ts";

export const LEASE_TTL_MS = 3_000;
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
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

const ROLES: Record<ServiceName, string> = {
  "api-1": "api",
  "api-2": "api",
  "worker-1": "drain,flush",
  "worker-2": "drain,flush",
  webhooks: "webhooks",
};
/** What each process of the service connects to. */
const STORE_LINKS = ["redis", "postgres", "stripe"] as const;
type StoreLink = (typeof STORE_LINKS)[number];

export interface DeploymentOptions {
  readonly dir: string;
  readonly seed: number;
  /** Of the faults. Billing periods of some customers end inside. */
  readonly lengthMs: number;
  readonly sink: "v1" | "stream";
}

export class Deployment {
  readonly redis: RedisStore;
  readonly postgres: PostgresStore;
  /** Straight to the database, past the proxies. */
  readonly pool: Pool;
  readonly programs: ReadonlyMap<ProgramName, Program>;
  readonly payers: readonly Payer[];
  readonly simulatorUrl: string;
  /** host:port of each API, past the proxies. */
  readonly apiTargets: readonly string[];
  /** For commands. */
  readonly environment: Readonly<Record<string, string>>;
  readonly journals: readonly string[];
  readonly #apiProxies: ReadonlyMap<LinkName, FaultyProxy>;
  readonly #storeProxies: ReadonlyMap<ServiceName, ReadonlyMap<StoreLink, FaultyProxy>>;

  constructor(
    parts: Pick<
      Deployment,
      "redis" | "postgres" | "pool" | "programs" | "payers" | "simulatorUrl" | "apiTargets" | "environment" | "journals"
    >,
    apiProxies: ReadonlyMap<LinkName, FaultyProxy>,
    storeProxies: ReadonlyMap<ServiceName, ReadonlyMap<StoreLink, FaultyProxy>>,
  ) {
    this.redis = parts.redis;
    this.postgres = parts.postgres;
    this.pool = parts.pool;
    this.programs = parts.programs;
    this.payers = parts.payers;
    this.simulatorUrl = parts.simulatorUrl;
    this.apiTargets = parts.apiTargets;
    this.environment = parts.environment;
    this.journals = parts.journals;
    this.#apiProxies = apiProxies;
    this.#storeProxies = storeProxies;
  }

  program(name: ProgramName): Program {
    const program = this.programs.get(name);
    if (program === undefined) throw new Error(`there is no process ${name}`);
    return program;
  }

  /** All proxies of a link: one in front of an API or the webhooks, one a process in front of a store or Stripe. */
  link(name: LinkName): readonly FaultyProxy[] {
    const own = this.#apiProxies.get(name);
    if (own !== undefined) return [own];
    return [...this.#storeProxies.values()].flatMap((proxies) => proxies.get(name as StoreLink) ?? []);
  }

  /** The one between a process and what it connects to. */
  linkOf(service: ServiceName, store: StoreLink): FaultyProxy {
    const proxy = this.#storeProxies.get(service)?.get(store);
    if (proxy === undefined) throw new Error(`${service} does not connect to ${store}`);
    return proxy;
  }

  /** Asks the simulated Stripe's control interface; rejects where it is away. */
  async control(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${this.simulatorUrl}/_simulator/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      signal: AbortSignal.timeout(60_000),
    });
    if (!answer.ok) throw new Error(`the simulator answers ${answer.status} to ${path}: ${await answer.text()}`);
    return answer.json();
  }

  async close(): Promise<void> {
    await Promise.all([...this.programs.values()].map((program) => program.stop("SIGKILL")));
    const proxies = [...this.#storeProxies.values()].flatMap((some) => [...some.values()]);
    await Promise.all([...this.#apiProxies.values(), ...proxies].map((proxy) => proxy.close()));
    await this.pool.end().catch(() => {});
    await this.redis.down("SIGTERM");
    await this.postgres.down("SIGINT");
  }
}

/** Brings all of it up and resolves when it is ready. What was started goes when this process ends. */
export async function deploy(options: DeploymentOptions): Promise<Deployment> {
  const { dir, seed } = options;
  const logs = join(dir, "logs");
  mkdirSync(logs, { recursive: true });
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

  const stripePort = await ports.take();
  const servicePorts = new Map<ServiceName, Record<string, string>>();
  for (const service of SERVICES) servicePorts.set(service, await portsOf(ports));
  const portOf = (service: ServiceName, name: string) => Number(servicePorts.get(service)?.[name]);
  const front = new Map<LinkName, FaultyProxy>();
  for (const api of ["api-1", "api-2"] as const)
    front.set(api, await FaultyProxy.start(await ports.take(), portOf(api, "GRPC_PORT")));
  front.set("webhooks", await FaultyProxy.start(await ports.take(), portOf("webhooks", "WEBHOOK_PORT")));
  const behind = {
    redis: new URL(redis.url),
    postgres: new URL(postgres.url),
    stripe: new URL(`http://127.0.0.1:${stripePort}`),
  };
  const storeProxies = new Map<ServiceName, ReadonlyMap<StoreLink, FaultyProxy>>();
  for (const service of SERVICES) {
    const proxies = new Map<StoreLink, FaultyProxy>();
    for (const store of STORE_LINKS)
      proxies.set(store, await FaultyProxy.start(await ports.take(), Number(behind[store].port)));
    storeProxies.set(service, proxies);
  }

  const webhookBase = `http://127.0.0.1:${front.get("webhooks")?.port}/webhooks/stripe`;
  const programs = new Map<ProgramName, Program>();
  programs.set(
    "stripe",
    new Program({
      name: "stripe",
      args: metering(
        "stripe-simulator",
        "--json",
        "--data",
        join(dir, "stripe.jsonl"),
        "--webhook-url",
        webhookBase,
        "--thin-webhook-url",
        `${webhookBase}/thin`,
      ),
      environment: {
        STRIPE_SIMULATOR_PORT: String(stripePort),
        STRIPE_WEBHOOK_SECRET: SECRET,
        STRIPE_THIN_WEBHOOK_SECRET: THIN_SECRET,
        METERING_CONFIG,
      },
      logFile: join(logs, "stripe.log"),
      isReady: () => answers(`${behind.stripe.origin}/_simulator/faults`),
    }),
  );
  const environmentOf = (urls: Record<StoreLink, URL>): Record<string, string> => ({
    DATABASE_URL: urls.postgres.href,
    REDIS_URL: urls.redis.href,
    STRIPE_API_BASE: urls.stripe.origin,
    ...settings(options),
    METERING_DATA_DIR: join(dir, "data"),
  });
  for (const service of SERVICES) {
    const through = (store: StoreLink) => withPort(behind[store], storeProxies.get(service)?.get(store)?.port ?? 0);
    const urls = { redis: through("redis"), postgres: through("postgres"), stripe: through("stripe") };
    programs.set(
      service,
      new Program({
        name: service,
        args: metering("serve", "--roles", ROLES[service]),
        environment: { ...environmentOf(urls), ...servicePorts.get(service) },
        logFile: join(logs, `${service}.log`),
        isReady: () => answers(`http://127.0.0.1:${portOf(service, "OPS_PORT")}/readyz`),
      }),
    );
  }

  const stripe = programs.get("stripe");
  stripe?.start();
  await stripe?.untilReady(READY_MS);
  for (const service of SERVICES) programs.get(service)?.start();
  for (const service of SERVICES) await programs.get(service)?.untilReady(READY_MS);
  const payers = await makeCustomers(behind.stripe, options);

  const journals: string[] = [];
  const targets = ["api-1", "api-2"].map((api) => `127.0.0.1:${front.get(api as LinkName)?.port}`).join(",");
  for (const [i, name] of CLIENTS.entries()) {
    const journal = join(dir, `${name}.jsonl`);
    journals.push(journal);
    const orders: ClientOrders = { seed, client: i + 1, targets, journal, payers, callsPerSecond: CALLS_PER_SECOND };
    programs.set(
      name,
      new Program({
        name,
        args: [CLIENT_SCRIPT, JSON.stringify(orders)],
        environment: {},
        logFile: join(logs, `${name}.log`),
      }),
    );
  }
  const apiTargets = (["api-1", "api-2"] as const).map((api) => `127.0.0.1:${portOf(api, "GRPC_PORT")}`);
  const environment = environmentOf(behind);
  const parts = {
    redis,
    postgres,
    pool,
    programs,
    payers,
    simulatorUrl: behind.stripe.origin,
    apiTargets,
    environment,
    journals,
  };
  return new Deployment(parts, front, storeProxies);
}

/** Short intervals, so that money flows within seconds. */
function settings({ sink }: DeploymentOptions): Record<string, string> {
  return {
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

function withPort(url: URL, port: number): URL {
  const copy = new URL(url);
  copy.port = String(port);
  return copy;
}

async function answers(url: string): Promise<boolean> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(3_000) }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => {});
  return answer?.status === 200;
}

/**
 * Four customers whose usage happened in hours that are over: all of it can be compared with Stripe's sums. And two whose usage happens now,
 * with a subscription whose period ends amid the faults: one on a full minute, one on any second.
 */
async function makeCustomers(apiBase: URL, { seed, lengthMs }: DeploymentOptions): Promise<Payer[]> {
  const random = new Random(seed, "customers");
  const stripe = openStripe({ secretKey: KEY, apiBase, maxSockets: 2, timeoutMs: 30_000 });
  const meters = await ensureMeters(stripe, [...EVENT_NAMES]);
  const thisHourMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
  const minutesMs = Array.from({ length: 6 }, () => thisHourMs - HOUR_MS - random.whole(1, 120) * MINUTE_MS);
  const payers: Payer[] = [];
  for (let i = 0; i < 4; i += 1) payers.push({ customerId: (await stripe.customers.create()).id, minutesMs });
  const product = await stripe.products.create({ name: "Tokens" });
  const items: { price: string }[] = [];
  for (const { meterId } of meters) {
    const recurring = { interval: "month", usage_type: "metered", meter: meterId } as const;
    const unitAmount = Stripe.Decimal.from("0.0003");
    const price = await stripe.prices.create({
      product: product.id,
      currency: "usd",
      billing_scheme: "per_unit",
      unit_amount_decimal: unitAmount,
      recurring,
    });
    items.push({ price: price.id });
  }
  for (const isFullMinute of [true, false]) {
    const { id } = await stripe.customers.create();
    const endMs = Date.now() + lengthMs * (0.2 + 0.2 * random.unit());
    const anchor = isFullMinute ? Math.ceil(endMs / MINUTE_MS) * 60 : Math.ceil(endMs / 1_000);
    await stripe.subscriptions.create({ customer: id, items, billing_cycle_anchor: anchor });
    payers.push({ customerId: id, minutesMs: undefined });
  }
  const grace = JSON.stringify({ invoiceGraceMs: INVOICE_GRACE_MS });
  await fetch(new URL("/_simulator/settings", apiBase), { method: "POST", body: grace });
  return payers;
}

/**
 * Whoever writes a report as a leader carries its epoch. These triggers note each write that is let through although a later epoch had been
 * given out. They are the harness's: production's code knows nothing of them.
 */
const WATCH_STALE_WRITES = `
CREATE TABLE chaos_stale_write (identifier text, write_epoch bigint, lease_epoch bigint, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION chaos_watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos_stale_write (identifier, write_epoch, lease_epoch)
  SELECT NEW.identifier, NEW.lease_epoch, l.epoch FROM lease l WHERE l.name = 'flush' AND NEW.lease_epoch > 0 AND NEW.lease_epoch < l.epoch;
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_insert AFTER INSERT ON report FOR EACH ROW EXECUTE FUNCTION chaos_watch();
CREATE TRIGGER chaos_epoch AFTER UPDATE OF lease_epoch ON report FOR EACH ROW EXECUTE FUNCTION chaos_watch();
CREATE TRIGGER chaos_settle AFTER UPDATE OF state ON report FOR EACH ROW WHEN (OLD.state = 'sending') EXECUTE FUNCTION chaos_watch();
`;
