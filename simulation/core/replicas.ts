// The service's processes: what runs in them is production's code, on the ports of this simulation.
import { closePeriods } from "../../src/app/close-periods.ts";
import { Drain } from "../../src/app/drain.ts";
import { Flush } from "../../src/app/flush.ts";
import { followStreams } from "../../src/app/follow-streams.ts";
import { LEASE_TIMING, runWhileHeld, type Tenure } from "../../src/app/hold-lease.ts";
import { leadAll, repeatedly } from "../../src/app/lead.ts";
import type { Intake } from "../../src/app/ports/intake.ts";
import type { Logger } from "../../src/app/ports/logger.ts";
import { Reconcile } from "../../src/app/reconcile.ts";
import { RecordUsage } from "../../src/app/record-usage.ts";
import { postgresIntake } from "../../src/postgres/intake.ts";
import { REDIS_INTAKE_LIMITS, redisIntake } from "../../src/redis/intake.ts";
import { Random } from "../random.ts";
import type { Api } from "./clients.ts";
import { LIMIT_METERS, type LimitKeeping } from "./limit-keeping.ts";
import { Machine } from "./machine.ts";
import {
  flushRequestsPort,
  invoicedPeriodsPort,
  reconciliationPort,
  reportsPort,
  sinkPort,
  summariesPort,
} from "./money-ports.ts";
import { leasePort, ledgerPort, redisClient, shardStream } from "./ports.ts";
import { readingParts } from "./reads/reading-stores.ts";
import type { Timeline } from "./scheduler.ts";
import { stopInCalm } from "./stops.ts";
import { DAYS_STRETCH, drawDrift, RECONCILE_LAG_MS, type Stores } from "./stores.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, type Pace, SECOND_MS, type World } from "./world.ts";

/** How long a process may take to end, beside the grace of a leader: a send may wait for its answer. */
const STOP_LIMIT_MS = 60 * SECOND_MS;
/** How long calls may take that are under way when a process is told to stop. */
const API_DRAIN_MS = 10 * SECOND_MS;

/** How often loops look for work. */
const PACES = {
  minutes: {
    flush: { intervalMs: 10 * SECOND_MS, pollMs: SECOND_MS },
    reconcile: { intervalMs: 30 * SECOND_MS, pollMs: 10 * SECOND_MS },
    closeMs: 30 * SECOND_MS,
    lease: LEASE_TIMING,
  },
  days: {
    flush: { intervalMs: 10 * MINUTE_MS, pollMs: 3 * MINUTE_MS },
    reconcile: { intervalMs: 20 * MINUTE_MS, pollMs: 20 * MINUTE_MS },
    closeMs: HOUR_MS / 2,
    lease: { ttlMs: 20 * MINUTE_MS, renewMs: 6 * MINUTE_MS, retryMs: 5 * MINUTE_MS, stopGraceMs: MINUTE_MS },
  },
} as const;

/** A process that drains and leads, if it may. */
interface Worker {
  readonly machine: Machine;
  readonly stop: AbortController;
  readonly loops: Promise<void>[];
}

export class Replicas {
  readonly #world: World;
  readonly #stores: Stores;
  readonly #limits: LimitKeeping;
  readonly #random: Random;
  readonly #apis = new Map<number, Api>();
  readonly #workers = new Map<number, Worker>();
  readonly #stops = new WeakMap<Machine, AbortController>();
  #pace: Pace;
  #born = 0;
  #ids = 0;

  constructor(world: World, stores: Stores, limits: LimitKeeping) {
    this.#world = world;
    this.#stores = stores;
    this.#limits = limits;
    this.#pace = world.pace;
    this.#random = new Random(world.seed, "replicas");
  }

  get apis(): readonly Api[] {
    return [...this.#apis.values()];
  }

  startAll(): void {
    for (let i = 0; i < this.#world.apiCount; i += 1) this.#startApi(i);
    for (let i = 0; i < this.#world.workerCount; i += 1) this.#startWorker(i);
  }

  /** Deaths, pauses and stops, drawn from the seed, until the world ends. */
  disturb(): void {
    const { pace, startMs, endMs, workerCount, apiCount, seed } = this.#world;
    const random = new Random(seed, "disturbances of processes");
    const unit = pace === "minutes" ? SECOND_MS : MINUTE_MS;
    const { scheduler, history } = this.#stores;
    for (let n = random.whole(0, 6); n > 0; n -= 1) {
      const atMs = startMs + random.unit() * (endMs - startMs);
      const backMs = Math.min(random.spread(0.1, 40) * unit, endMs - atMs);
      const isApi = random.chance(0.3);
      const slot = random.whole(0, (isApi ? apiCount : workerCount) - 1);
      const pauses = random.chance(0.4);
      scheduler.at(atMs, () => {
        const machine = (isApi ? this.#apis : this.#workers).get(slot)?.machine;
        if (machine === undefined) return;
        history.note(() => `${machine.name}: ${pauses ? `stands still for ${Math.round(backMs)} ms` : "dies"}`);
        if (pauses) {
          machine.pause(backMs);
          return;
        }
        machine.kill();
        if (isApi) this.#apis.delete(slot);
        else this.#workers.delete(slot);
        scheduler.after(backMs, () => (isApi ? this.#startApi(slot) : this.#startWorker(slot)));
      });
    }
  }

  /** The leader stands still in the middle of a send, for longer than its lease, as if nothing had happened to it. */
  disturbSends(): void {
    const { pace, seed } = this.#world;
    const random = new Random(seed, "disturbances of sends");
    const unit = pace === "minutes" ? SECOND_MS : MINUTE_MS;
    const { money, weather, history } = this.#stores;
    if (random.chance(0.4)) return;
    let left = random.whole(1, 60);
    money.onSend = (machine) => {
      left -= 1;
      if (left > 0 || weather.isCalm) return;
      left = random.whole(20, 100);
      const durationMs = random.spread(4, 60) * unit;
      history.note(() => `${machine.name}: stands still for ${Math.round(durationMs)} ms, while it sends`);
      machine.pause(durationMs);
    };
  }

  #newMachine(kind: string): Machine {
    this.#born += 1;
    const machine = new Machine(`${kind}-${this.#born}`, this.#stores.scheduler, drawDrift(this.#random));
    this.#stores.history.note(() => `${machine.name}: starts`);
    return machine;
  }

  #startApi(slot: number): void {
    const machine = this.#newMachine("api");
    const { intake, shardCount } = this.#world;
    const { redisWire, redis, databaseWire, ledger } = this.#stores;
    if (intake === "postgres") {
      const options = { maxBatch: 1_000, maxWaiting: 20_000, onFailure: () => {} };
      this.#apis.set(slot, this.#api(machine, postgresIntake(ledgerPort(machine, databaseWire, ledger), options)));
      return;
    }
    const opened = redisIntake({
      client: redisClient(machine, redisWire, redis),
      shardCount,
      duplicateWindowMs: DAY_MS,
      randomId: this.#newId,
      random: () => this.#random.unit(),
      limits: REDIS_INTAKE_LIMITS,
      waitReplicas: this.#world.waitReplicas,
      waitReplicasTimeoutMs: SECOND_MS,
      limitMeters: LIMIT_METERS,
      nowMs: machine.clock().nowMs,
      onUncounted: this.#limits.onUncounted(machine),
      onFailure: () => {},
    });
    this.#openApi(slot, this.#api(machine, opened));
  }

  #api(machine: Machine, intake: Intake): Api {
    const { reading, scheduler } = this.#stores;
    const record: Intake["record"] = (records) => {
      // It commits in an immediate of its own.
      scheduler.askTurn();
      const results = intake.record(records);
      this.#limits.listen(records, results);
      return results;
    };
    const usage = new RecordUsage({ record }, reading.tokens);
    const stop = new AbortController();
    this.#stops.set(machine, stop);
    const parts = readingParts(machine, reading, this.#world.shardCount);
    return { machine, usage, reading: parts, draining: stop.signal };
  }

  /** A process that cannot start is started again until it can. */
  #openApi(slot: number, api: Api): void {
    const { machine } = api;
    const { redisWire, redis, databaseWire, ledger, scheduler } = this.#stores;
    const stream = shardStream(machine, redisWire, redis, { randomId: this.#newId, blockMs: SECOND_MS });
    followStreams({ ledger: ledgerPort(machine, databaseWire, ledger), stream }).then(
      () => this.#apis.set(slot, api),
      () => scheduler.after(SECOND_MS, () => machine.deliver(() => this.#openApi(slot, api))),
    );
  }

  readonly #newId = (): string => {
    this.#ids += 1;
    return `epoch-${this.#ids}`;
  };

  #startWorker(slot: number): void {
    const machine = this.#newMachine("worker");
    const worker = { machine, stop: new AbortController(), loops: [] };
    this.#workers.set(slot, worker);
    if (this.#world.intake === "redis") this.#startDrain(worker);
    this.#startLeading(worker);
  }

  /** All workers anew, at another pace: the rest is about hours. */
  slowDown(): void {
    this.#pace = "days";
    for (const [slot, { machine }] of this.#workers) {
      machine.kill();
      this.#startWorker(slot);
    }
    stopInCalm(this.#world, this.#stores, this);
  }

  #startLeading(worker: Worker): void {
    const { machine, stop } = worker;
    const { sink, lateUsage, batch } = this.#world;
    const { databaseWire, stripeWire, lease, outbox, flushRequests, reconciliation, periods, stripe, money } =
      this.#stores;
    const paces = PACES[this.#pace];
    const clock = machine.clock();
    const logger = this.#logger(machine);
    const context = { deploymentId: "simulated", lateUsage };
    const flush = new Flush({
      ...context,
      reports: reportsPort(machine, databaseWire, outbox, sink),
      requests: flushRequestsPort(machine, databaseWire, flushRequests),
      sink: sinkPort(machine, stripeWire, stripe, sink, money),
      settings: {
        ...paces.flush,
        planBatch: batch,
        sendBatch: batch,
        requestsPerSecondMax: 20,
        round: { concurrency: 3, limitMs: 30 * SECOND_MS },
      },
      clock,
      logger,
      observer: { planned() {}, sent() {}, held() {}, backlog() {} },
    });
    const reconcile = new Reconcile({
      book: reconciliationPort(machine, databaseWire, reconciliation),
      summaries: summariesPort(machine, stripeWire, stripe),
      deploymentId: context.deploymentId,
      settings: {
        ...paces.reconcile,
        lagMs: RECONCILE_LAG_MS,
        repairLimit: 1_000_000_000n,
        batch,
        concurrency: 2,
        readsPerSecondMax: 20,
      },
      clock,
      logger,
      observer: { compared() {}, repaired() {}, state() {} },
    });
    const closing = { periods: invoicedPeriodsPort(machine, databaseWire, periods), context, logger };
    const works = [
      (tenure: Tenure) => flush.run(tenure),
      (tenure: Tenure) => reconcile.run(tenure),
      repeatedly({
        name: "closing",
        intervalMs: paces.closeMs,
        clock,
        logger,
        pass: (tenure) => closePeriods(closing, tenure),
      }),
    ];
    const holder = {
      lease: leasePort(machine, databaseWire, lease),
      holder: machine.name,
      timing: paces.lease,
      clock,
      logger,
    };
    this.#runFor(
      worker,
      runWhileHeld(holder, stop.signal, (tenure) => leadAll(tenure, works)),
    );
  }

  #startDrain(worker: Worker): void {
    const { machine, stop } = worker;
    const { shardCount } = this.#world;
    const { redisWire, redis, databaseWire, ledger, registry } = this.#stores;
    const stretch = this.#pace === "minutes" ? 1 : DAYS_STRETCH;
    const drain = new Drain({
      workerId: machine.name,
      shardCount,
      stream: shardStream(machine, redisWire, redis, { randomId: this.#newId, blockMs: SECOND_MS * stretch }),
      ledger: ledgerPort(machine, databaseWire, ledger),
      registry: registry.port(machine, databaseWire),
      clock: machine.clock((delayMs) => delayMs * stretch),
      observer: { applied() {}, position() {}, gap() {} },
      logger: this.#logger(machine),
      random: () => this.#random.unit(),
    });
    this.#runFor(worker, drain.run(stop.signal));
  }

  /** Loops that never reject, and end only when they are told to. */
  #runFor({ machine: { name }, stop, loops }: Worker, loop: Promise<void>): void {
    const { oracle } = this.#stores;
    const watched = loop.then(
      () => {
        if (!stop.signal.aborted) oracle.fail("crash", `a loop of ${name} ended`, name);
      },
      (cause: unknown) => oracle.fail("crash", `a loop of ${name} failed: ${String(cause)}`, name),
    );
    loops.push(watched);
  }

  /** How many of each kind there are to be, living or not. */
  get slots(): { readonly apis: number; readonly workers: number } {
    return { apis: this.#world.apiCount, workers: this.#world.workerCount };
  }

  machineOf(isApi: boolean, slot: number): Machine | undefined {
    return (isApi ? this.#apis : this.#workers).get(slot)?.machine;
  }

  /**
   * As a deployment does it: the process is told to stop, ends what is under way, and is killed where that takes too long; then another
   * takes its place. `ended` is told whether it came to its end by itself.
   */
  stopWorker(slot: number, timeline: Timeline, ended: (machine: Machine, byItself: boolean) => void): void {
    const worker = this.#workers.get(slot);
    if (worker === undefined) return;
    const { machine, stop, loops } = worker;
    this.#stores.history.note(() => `${machine.name}: is told to stop`);
    let isOver = false;
    const end = (byItself: boolean) => {
      if (isOver || !machine.isAlive) return;
      isOver = true;
      ended(machine, byItself);
      machine.kill();
      if (this.#workers.get(slot) === worker) this.#startWorker(slot);
    };
    machine.deliver(() => stop.abort(), timeline);
    void Promise.all(loops).then(() => timeline.after(0, () => end(true)));
    timeline.after(STOP_LIMIT_MS + PACES[this.#pace].lease.stopGraceMs, () => end(false));
  }

  /** Calls that are under way end, streams are ended; then another process starts. */
  stopApi(slot: number, timeline: Timeline): void {
    const api = this.#apis.get(slot);
    if (api === undefined) return;
    const { machine } = api;
    this.#stores.history.note(() => `${machine.name}: is told to stop`);
    this.#apis.delete(slot);
    machine.deliver(() => this.#stops.get(machine)?.abort(), timeline);
    this.#startApi(slot);
    timeline.after(API_DRAIN_MS, () => machine.kill());
  }

  /** What the process says of itself is part of the history. */
  #logger(machine: Machine): Logger {
    const { history } = this.#stores;
    const say = (fields: object, message: string) =>
      history.note(
        () =>
          `${machine.name}: ${message} ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))}`,
        machine.name,
      );
    return { debug() {}, info: say, warn: say, error: say };
  }
}
