// One seed: a world goes through its troubles, then everything must settle.
import { Random } from "../random.ts";
import { Clients } from "./clients.ts";
import { DriftDesk } from "./drift-desk.ts";
import { Invoicing } from "./invoicing.ts";
import { LimitKeeping } from "./limit-keeping.ts";
import { identityOf } from "./model/ledger.ts";
import type { Violation } from "./oracle.ts";
import { Readers } from "./reads/readers.ts";
import { Replicas } from "./replicas.ts";
import { stopSometimes } from "./stops.ts";
import { disturbStores, openStores, type Stores } from "./stores.ts";
import { unsettled } from "./unsettled.ts";
import { Voiding } from "./voiding.ts";
import { Webhooks } from "./webhooks.ts";
import { drawWorld, HOUR_MS, MINUTE_MS, SECOND_MS, type World } from "./world.ts";

export interface Outcome {
  readonly seed: number;
  readonly world: World;
  /** The first is what ended it. */
  readonly violations: readonly Violation[];
  readonly steps: number;
  /** Virtual time, troubles and settling. */
  readonly virtualMs: number;
  /** Counted in the ledger. */
  readonly records: number;
  readonly reports: number;
  readonly lost: number;
  readonly gaps: number;
  /** What led to the violation; empty unless it was to be kept. */
  readonly history: readonly string[];
  /** Of all that happened, where it was kept. */
  readonly digest: string;
}

const HISTORY_LINES = 60;

export async function play(seed: number, keepHistory = false): Promise<Outcome> {
  const world = drawWorld(seed);
  const stores = openStores(world, keepHistory);
  const { scheduler, oracle, history } = stores;
  const limits = new LimitKeeping(world, stores);
  const replicas = new Replicas(world, stores, limits);
  const readers = new Readers(world, stores, () => replicas.apis);
  const clients = new Clients({
    ...stores,
    random: new Random(seed, "clients"),
    apis: () => replicas.apis,
    timeoutMs: (world.pace === "minutes" ? 5 : 60) * SECOND_MS,
    hopMs: 5,
    onAcknowledged: (record, answer) => {
      // With Postgres as intake, recorded means counted.
      if (world.intake === "postgres" && !oracle.applied.has(identityOf(record)))
        oracle.fail(
          "acknowledged",
          `${identityOf(record)} was acknowledged before it was in the ledger`,
          identityOf(record),
        );
      limits.acknowledged(record);
      readers.acknowledged(record, answer);
    },
  });
  const webhooks = new Webhooks(world, stores);
  new Invoicing(world, stores, webhooks).start();
  const voiding = new Voiding(world, stores);
  new DriftDesk(world, stores).start();
  replicas.startAll();
  replicas.disturb();
  replicas.disturbSends();
  stopSometimes(world, stores, replicas);
  disturbStores(world, stores);
  clients.start(world.submissions);
  readers.start();
  limits.start();
  webhooks.start();
  try {
    await live(world, stores, { clients, replicas, webhooks, readers, voiding, limits });
  } catch (cause) {
    oracle.fail("crash", String(cause));
  }
  if (oracle.violations.length === 0) stores.checks.atTheEnd(stores.ledger);
  if (oracle.violations.length === 0) stores.money.atTheEnd(stores);
  const [first] = oracle.violations;
  return {
    seed,
    world,
    violations: oracle.violations,
    steps: scheduler.steps,
    virtualMs: scheduler.nowMs - world.startMs,
    records: oracle.applied.size,
    reports: stores.outbox.reports.size,
    lost: oracle.lost.length,
    gaps: stores.ledger.gaps.length,
    history: first === undefined ? [] : history.about(first.subjects, HISTORY_LINES),
    digest: history.digest(),
  };
}

/** Those who act in a world. */
interface Cast {
  readonly clients: Clients;
  readonly replicas: Replicas;
  readonly webhooks: Webhooks;
  readonly readers: Readers;
  readonly voiding: Voiding;
  readonly limits: LimitKeeping;
}

/** Troubles, and what comes after them. */
async function live(world: World, stores: Stores, cast: Cast): Promise<void> {
  await stores.scheduler.run(world.endMs);
  stores.weather.clearUp();
  stores.stripe.clearUp();
  stores.history.note(() => "all troubles are over");
  await settle(world, stores, cast);
  if (!stores.scheduler.halted) await catchUp(stores, cast);
}

/** Streams show what there is in the end, and so do readers of pages. */
async function catchUp({ scheduler, oracle }: Stores, { readers, webhooks }: Cast): Promise<void> {
  const isQuiet = () => readers.areCaughtUp && webhooks.isHeard;
  await scheduler.run(scheduler.nowMs + CATCHING_UP_MAX_MS, isQuiet);
  if (scheduler.halted) return;
  if (isQuiet()) webhooks.atTheEnd();
  else
    oracle.fail(
      "liveness",
      `a stream does not show the last version, or an event is not applied, after ${CATCHING_UP_MAX_MS} ms`,
    );
  let isOver = false;
  let refusal = "";
  // A store that was taken away in the last moment of the troubles may still be away, where nothing was left to settle.
  const read = (): void => {
    readers.readAll().then(
      () => {
        isOver = true;
      },
      (cause: unknown) => {
        refusal = `: ${String(cause)}`;
        scheduler.after(SECOND_MS, read);
      },
    );
  };
  read();
  await scheduler.run(scheduler.nowMs + HOUR_MS, () => isOver);
  if (!isOver && !scheduler.halted) oracle.fail("liveness", `who reads all there is gets no answer${refusal}`);
}

/** A reader whose stream died just before gives it up after three and a half hours, at the slowest pace; then it has to come back. */
const CATCHING_UP_MAX_MS = 6 * HOUR_MS;

/** Without troubles, within a bounded time, everything must come to its end: into the ledger first, then to Stripe and onto invoices. */
async function settle(
  world: World,
  stores: Stores,
  { clients, replicas, webhooks, readers, voiding, limits }: Cast,
): Promise<void> {
  const { scheduler, oracle } = stores;
  const drainedByMs = scheduler.nowMs + (world.pace === "minutes" ? 5 * MINUTE_MS : 12 * HOUR_MS);
  const isDrained = () => clients.open === 0 && isCounted(world, stores);
  await scheduler.run(drainedByMs, isDrained);
  if (scheduler.halted) return;
  if (!isDrained())
    oracle.fail(
      "liveness",
      `what was recorded is not all in the ledger after ${drainedByMs - world.endMs} ms: ${clients.open} clients wait`,
    );
  await limits.atTheEnd();
  replicas.slowDown();
  readers.slowDown();
  const settledByMs = scheduler.nowMs + SETTLING_MAX_MS;
  // Asked now and then: to find the answer is not for nothing.
  while (!scheduler.halted && scheduler.nowMs < settledByMs) {
    await scheduler.run(scheduler.nowMs + 20 * MINUTE_MS);
    if (webhooks.isHeard && voiding.isOver && unsettled(stores).length === 0) return;
  }
  const left = unsettled(stores);
  if (!scheduler.halted)
    oracle.fail(
      "liveness",
      `not settled after ${SETTLING_MAX_MS} ms: ${left.map(({ what }) => what).join("; ")}`,
      ...left.flatMap(({ subjects }) => subjects),
    );
}

/** Longer than an open drift waits for its next look, with a day to spare. */
const SETTLING_MAX_MS = 72 * HOUR_MS;

/** Whether all shards stand at the end of their streams, and know it. */
function isCounted({ intake }: World, { ledger, redis, oracle }: Stores): boolean {
  if (intake === "postgres") return true;
  if (oracle.violations.length > 0) return true;
  return ledger.shardRows.every(({ shard, cursor, epoch }) => {
    const stream = redis.standing(shard);
    // A store that came back empty is one that the ledger has yet to hear of, unless it never followed any.
    return stream === undefined ? epoch === "" : stream.epoch === epoch && stream.last === cursor;
  });
}
