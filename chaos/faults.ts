// Carries out a timeline: each fault begins when it is due and what it needs is free, and is undone when its time is over.
import { setTimeout as delay } from "node:timers/promises";
import type { Deployment } from "./deployment.ts";
import type { LeaseWatch } from "./lease-watch.ts";
import type { Conduct } from "./proxy.ts";
import {
  type FaultKind,
  type LinkName,
  type PlannedFault,
  type ProgramName,
  SERVICES,
  type ServiceName,
} from "./timeline.ts";

/** A fault as it came about. */
export interface Fault {
  readonly n: number;
  readonly kind: FaultKind;
  /** Filled in where the plan leaves it to the moment: who led. */
  readonly target: string;
  readonly fromMs: number;
  /** When what it had broken was in place again: connections pass, the process was started, the store is up. */
  readonly toMs: number;
}

/** Longest that a process is waited for, at its start or at its end, before that counts as a failure. */
const READY_LIMIT_MS = 90_000;
const STOP_LIMIT_MS = 60_000;
const TRY_AGAIN_MS = 200;
/** Simulated Stripe's settings and conduct where nothing is wrong. */
const PROMPT_SUMS = { summaryDelayMs: 0, summaryDelayMaxMs: 0 };
const PROMPT_WEBHOOKS = { copies: 1, delayRate: 0, failureRate: 0 };

/** What a fault holds while it lasts: two that need the same come one after the other. */
type Resource = ProgramName | "redis server" | "postgres server" | `link ${LinkName}` | `Stripe ${string}`;

export interface InjectorOptions {
  readonly deployment: Deployment;
  readonly lease: LeaseWatch;
  /** Told of each fault as it begins and as it is over. */
  readonly onEvent: (text: string) => void;
  /** Told of what did not come back as it should. */
  readonly onFailure: (message: string) => void;
}

export class Injector {
  readonly done: Fault[] = [];
  readonly #options: InjectorOptions;
  readonly #busy = new Map<Resource, Promise<void>>();
  /** Faults of the simulated Stripe that are in force, by the number of the fault. */
  readonly #stripeRules = new Map<number, object>();
  /** When Redis came back empty. */
  readonly wipesMs: number[] = [];
  #isOver = false;

  constructor(options: InjectorOptions) {
    this.#options = options;
  }

  /** Resolves when all faults are over; none begins after `lengthMs`. Returns how many of the plan did not come to their turn. */
  async run(timeline: readonly PlannedFault[], lengthMs: number): Promise<number> {
    const startMs = Date.now();
    const end = setTimeout(() => {
      this.#isOver = true;
    }, lengthMs);
    const all = timeline.map(async (planned) => {
      await delay(Math.max(0, startMs + planned.atMs - Date.now()));
      await this.#inTurn(planned);
    });
    await Promise.all(all);
    clearTimeout(end);
    return timeline.length - this.done.length;
  }

  async #inTurn(planned: PlannedFault): Promise<void> {
    const needed = needs(planned);
    const before = needed.map((resource) => this.#busy.get(resource) ?? Promise.resolve());
    const mine = Promise.withResolvers<void>();
    for (const resource of needed) this.#busy.set(resource, mine.promise);
    try {
      await Promise.all(before);
      if (this.#isOver) return;
      await this.#strike(planned);
    } catch (cause) {
      this.#options.onFailure(`fault ${planned.n}, ${planned.kind} ${planned.target}: ${String(cause)}`);
    } finally {
      mine.resolve();
    }
  }

  async #strike(planned: PlannedFault): Promise<void> {
    const target = planned.kind.startsWith("leader") ? this.#leader() : planned.target;
    const { n, kind, forMs, amount } = planned;
    const { onEvent } = this.#options;
    const what = `fault ${n}: ${kind}${target === "" ? "" : `, ${target}`}`;
    const how = amount === 0 ? "" : amount > 1 ? `, ${amount} ms` : `, ${Math.round(amount * 100)} %`;
    onEvent(`${what}${how}${forMs === 0 ? "" : `, for ${(forMs / 1_000).toFixed(1)} s`}`);
    const fromMs = Date.now();
    await this.#carryOut({ ...planned, target });
    const toMs = Date.now();
    this.done.push({ n, kind, target, fromMs, toMs });
    onEvent(`  ${n} is over after ${((toMs - fromMs) / 1_000).toFixed(1)} s`);
  }

  /** The worker that leads; by chance the first where nobody does. */
  #leader(): ServiceName {
    const pid = this.#options.lease.leaderPid;
    const led = SERVICES.find((name) => pid !== undefined && this.#options.deployment.program(name).pid === pid);
    return led ?? "worker-1";
  }

  async #carryOut(fault: PlannedFault): Promise<void> {
    const { kind, target, forMs, amount } = fault;
    const { deployment } = this.#options;
    switch (kind) {
      case "process killed":
      case "leader killed":
        return this.#kill(target as ProgramName, forMs);
      case "process paused":
      case "leader paused past its lease":
        return paused(deployment.program(target as ProgramName), forMs);
      case "leader cut off from PostgreSQL":
        return behaves([deployment.network.linkOf(target as ServiceName, "postgres")], "stalled", forMs);
      case "rolling restart of the APIs":
        return this.#roll(["api-1", "api-2"]);
      case "rolling restart of the workers":
        return this.#roll(["worker-1", "worker-2"]);
      case "connections cut":
        for (const proxy of deployment.network.link(target as LinkName)) proxy.cut();
        return;
      case "connections stalled":
      case "connections slow":
      case "connections refused":
      case "answers lost":
        return behaves(deployment.network.link(target as LinkName), CONDUCTS[kind], forMs, amount);
      case "Redis paused":
        return paused(deployment.redis, forMs);
      case "Redis restarted":
      case "Redis killed":
      case "Redis wiped":
        return this.#restartRedis(kind, forMs);
      case "Redis out of memory":
        return this.#outOfMemory(forMs);
      case "PostgreSQL restarted, fast":
      case "PostgreSQL restarted, immediate":
      case "PostgreSQL killed":
        await deployment.postgres.down(POSTGRES_SIGNALS[kind]);
        await delay(forMs);
        return deployment.postgres.up();
      case "PostgreSQL refuses connections":
        return this.#refuseConnections(forMs);
      case "Stripe faulty":
        return this.#stripeFault(fault);
      case "Stripe's sums late":
        return this.#stripeSets("settings", { summaryDelayMs: 0, summaryDelayMaxMs: amount }, PROMPT_SUMS, forMs);
      case "Stripe's webhooks late, doubled and lost": {
        const conduct = { copies: 2, delayRate: amount, delayMaxMs: 5_000, failureRate: amount / 2 };
        return this.#stripeSets("webhooks", conduct, PROMPT_WEBHOOKS, forMs);
      }
    }
  }

  async #kill(name: ProgramName, forMs: number): Promise<void> {
    const program = this.#options.deployment.program(name);
    await program.stop("SIGKILL");
    await delay(forMs);
    program.start();
    if (name === "stripe") {
      // It forgets what was to go wrong.
      await program.untilReady(READY_LIMIT_MS);
      await this.#putStripeRules();
    }
  }

  /** One after the other, the next when the one before it is back; each ends by itself. */
  async #roll(names: readonly ServiceName[]): Promise<void> {
    for (const name of names) {
      const program = this.#options.deployment.program(name);
      const wasReady = program.isReady;
      const code = await program.stop("SIGTERM", STOP_LIMIT_MS);
      if (wasReady && code === null)
        this.#options.onFailure(`${name} did not end within ${STOP_LIMIT_MS / 1_000} s of SIGTERM`);
      program.start();
      // Not for ever: it may be that a store is away all the while.
      await program.untilReady(READY_LIMIT_MS).catch((cause: unknown) => this.#options.onEvent(String(cause)));
    }
  }

  async #restartRedis(kind: "Redis restarted" | "Redis killed" | "Redis wiped", forMs: number): Promise<void> {
    const { redis } = this.#options.deployment;
    await redis.down(kind === "Redis restarted" ? "SIGTERM" : "SIGKILL");
    if (kind === "Redis wiped") {
      redis.wipe();
      this.wipesMs.push(Date.now());
    }
    await delay(forMs);
    await redis.up();
  }

  /** Less than what it holds: it takes nothing more. */
  async #outOfMemory(forMs: number): Promise<void> {
    const { redis } = this.#options.deployment;
    await redis.command("CONFIG", "SET", "maxmemory", "1mb");
    await delay(forMs);
    await redis.command("CONFIG", "SET", "maxmemory", "0");
  }

  async #refuseConnections(forMs: number): Promise<void> {
    const { postgres } = this.#options.deployment;
    await postgres.admin(
      "ALTER DATABASE metering ALLOW_CONNECTIONS false",
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'metering'",
    );
    await delay(forMs);
    await postgres.admin("ALTER DATABASE metering ALLOW_CONNECTIONS true");
  }

  async #stripeFault({ n, target, forMs, amount }: PlannedFault): Promise<void> {
    const [kind, how] = target.split(" ");
    const rule = {
      route: MONEY_ONLY.has(kind ?? "") ? await this.#moneyRoute() : "*",
      kind,
      rate: amount,
      ...(how === "processed" && { processed: true }),
      ...(how === "burnt" && { burnt: true }),
      ...(kind === "rejected" && { code: "meter_event_customer_not_found" }),
      ...(kind?.startsWith("slow") && { delayMs: 4_000 }),
    };
    this.#stripeRules.set(n, rule);
    await this.#putStripeRules();
    await delay(forMs);
    this.#stripeRules.delete(n);
    await this.#putStripeRules();
  }

  /** Where usage goes in. */
  async #moneyRoute(): Promise<string> {
    const isStream = this.#options.deployment.environment["STRIPE_SINK"] === "stream";
    return isStream ? "POST /v2/billing/meter_event_stream" : "POST /v1/billing/meter_events";
  }

  async #putStripeRules(): Promise<void> {
    await this.#control("DELETE", "faults");
    if (this.#stripeRules.size > 0) await this.#control("POST", "faults", [...this.#stripeRules.values()]);
  }

  async #stripeSets(path: string, faulty: object, sound: object, forMs: number): Promise<void> {
    await this.#control("POST", path, faulty);
    await delay(forMs);
    await this.#control("POST", path, sound);
  }

  /** Until it is done: the simulated Stripe may be down, or paused, by another fault. */
  async #control(method: "POST" | "DELETE", path: string, body?: unknown): Promise<void> {
    for (;;) {
      try {
        await this.#options.deployment.control(method, path, body);
        return;
      } catch {
        await delay(TRY_AGAIN_MS);
      }
    }
  }
}

const CONDUCTS = {
  "connections stalled": "stalled",
  "connections slow": "slow",
  "connections refused": "refused",
  "answers lost": "deaf",
} as const satisfies Partial<Record<FaultKind, Conduct>>;

const POSTGRES_SIGNALS = {
  "PostgreSQL restarted, fast": "SIGINT",
  "PostgreSQL restarted, immediate": "SIGQUIT",
  "PostgreSQL killed": "SIGKILL",
} as const satisfies Partial<Record<FaultKind, string>>;

/** These happen to meter events alone. */
const MONEY_ONLY = new Set(["dropped", "rejected", "session_expired"]);

async function paused(what: { signal(name: "SIGSTOP" | "SIGCONT"): void }, forMs: number): Promise<void> {
  what.signal("SIGSTOP");
  await delay(forMs);
  what.signal("SIGCONT");
}

async function behaves(
  proxies: readonly { behave(conduct: Conduct, slowMs?: number): void }[],
  conduct: Conduct,
  forMs: number,
  slowMs = 0,
): Promise<void> {
  for (const proxy of proxies) proxy.behave(conduct, slowMs);
  await delay(forMs);
  for (const proxy of proxies) proxy.behave("pass");
}

function needs({ kind, target }: PlannedFault): readonly Resource[] {
  if (kind === "leader cut off from PostgreSQL") return ["worker-1", "worker-2", "link postgres"];
  if (kind.startsWith("leader") || kind.endsWith("workers")) return ["worker-1", "worker-2"];
  if (kind.endsWith("APIs")) return ["api-1", "api-2"];
  if (kind.startsWith("Redis")) return ["redis server"];
  if (kind.startsWith("PostgreSQL")) return ["postgres server"];
  if (kind === "Stripe faulty") return [`Stripe ${target}`];
  if (kind.startsWith("Stripe's")) return [`Stripe ${kind}`];
  if (kind.startsWith("process")) return [target as ProgramName];
  return [`link ${target as LinkName}`];
}
