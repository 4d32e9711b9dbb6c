// The stores of a world, the wires to them, and the clocks of the machines that they run on.

import { CATALOG } from "../catalog.ts";
import { Random } from "../random.ts";
import { History } from "./history.ts";
import { LedgerChecks, REDIS_SET_BACK_MS } from "./ledger-checks.ts";
import { type Drift, Machine } from "./machine.ts";
import { ModelAccounts } from "./model/accounts.ts";
import { Billing } from "./model/billing.ts";
import { ModelFlushRequests } from "./model/flush-requests.ts";
import { ModelInvoicedPeriods } from "./model/invoiced-periods.ts";
import { ModelLease } from "./model/lease.ts";
import { ModelLedger } from "./model/ledger.ts";
import { ModelOutbox } from "./model/outbox.ts";
import { ModelReconciliation } from "./model/reconciliation.ts";
import { ModelRedis, REPLICA_LAG_MS } from "./model/redis.ts";
import { ModelStripe, type StripeTraits } from "./model/stripe.ts";
import { ModelStripeEvents } from "./model/stripe-events.ts";
import { ModelUsageReader } from "./model/usage-reader.ts";
import { MoneyChecks } from "./money-checks.ts";
import { Oracle } from "./oracle.ts";
import { ModelRegistry } from "./ports.ts";
import { ReadChecks } from "./reads/read-checks.ts";
import { READING_PACES, type ReadingStores, TOKENS } from "./reads/reading-stores.ts";
import { Scheduler } from "./scheduler.ts";
import { Weather } from "./weather.ts";
import { Wire } from "./wire.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS, type World } from "./world.ts";

/** How much slower loops that look for work go where a world is about days. */
export const DAYS_STRETCH = 300;

export interface Stores {
  readonly scheduler: Scheduler;
  readonly weather: Weather;
  readonly oracle: Oracle;
  readonly history: History;
  readonly checks: LedgerChecks;
  readonly redis: ModelRedis;
  readonly redisWire: Wire;
  readonly databaseWire: Wire;
  readonly ledger: ModelLedger;
  readonly lease: ModelLease;
  readonly billing: Billing;
  readonly accounts: ModelAccounts;
  readonly stripeEvents: ModelStripeEvents;
  readonly outbox: ModelOutbox;
  readonly flushRequests: ModelFlushRequests;
  readonly reconciliation: ModelReconciliation;
  readonly periods: ModelInvoicedPeriods;
  readonly stripe: ModelStripe;
  readonly stripeWire: Wire;
  readonly money: MoneyChecks;
  readonly registry: ModelRegistry;
  readonly reading: ReadingStores;
  /** The database's. */
  readonly databaseNowMs: () => number;
}

export function openStores(world: World, keepHistory: boolean): Stores {
  const { seed, shardCount, customers } = world;
  const scheduler = new Scheduler(world.startMs, new Random(seed, "order"));
  const weather = new Weather(seed);
  const history = new History(() => scheduler.nowMs, keepHistory);
  const oracle = new Oracle(() => {
    scheduler.halted = true;
  });
  const clocks = new Random(seed, "clocks of stores");
  const redisNowMs = new Machine("redis", scheduler, drawDrift(clocks)).clock().nowMs;
  const databaseNowMs = new Machine("postgres", scheduler, drawDrift(clocks)).clock().nowMs;
  const reads = new ReadChecks(oracle, world.intake === "postgres" ? databaseNowMs : undefined);
  const checks = new LedgerChecks(oracle, history, world.waitReplicas > 0, reads);
  const ledger = new ModelLedger(shardCount, CATALOG, checks);
  checks.cursorOf = (shard) => ledger.shardRows[shard];
  for (const { customerId, boundariesMs } of customers) ledger.boundaries.set(customerId, boundariesMs);
  const money = new MoneyChecks(oracle, history, scheduler, ledger.boundaries);
  const lease = new ModelLease(databaseNowMs, (epoch, holder) => money.leads(epoch, holder));
  const billing = new Billing();
  const tables = { nowMs: databaseNowMs, lease, ledger, billing };
  const outbox = new ModelOutbox({ ...tables, intake: world.intake, watcher: money });
  const wentBack = (invoiceId: string) =>
    oracle.fail("account", `${invoiceId} was final, and is written as a draft`, invoiceId);
  const accounts = new ModelAccounts(billing, outbox, { wentBack });
  const stripe = new ModelStripe(
    () => scheduler.nowMs,
    new Random(seed, "stripe"),
    drawTraits(new Random(seed, "traits of stripe")),
    money,
  );
  const latency = { usualMs: 8, timeoutMs: 4 * SECOND_MS, lateMs: 3 * SECOND_MS };
  const databaseWire = new Wire("postgres", scheduler, new Random(seed, "postgres"), weather, latency);
  const timeline = scheduler.beside(new Random(seed, "order of readers"));
  return {
    scheduler,
    weather,
    oracle,
    history,
    checks,
    redis: new ModelRedis(redisNowMs, checks),
    redisWire: new Wire("redis", scheduler, new Random(seed, "redis"), weather, latency),
    databaseWire,
    ledger,
    lease,
    billing,
    accounts,
    stripeEvents: new ModelStripeEvents(databaseNowMs),
    outbox,
    flushRequests: new ModelFlushRequests({ ...tables, reports: outbox.reports }),
    reconciliation: new ModelReconciliation({ ...tables, outbox, lagMs: RECONCILE_LAG_MS }),
    periods: new ModelInvoicedPeriods({ ...tables, outbox }),
    stripe,
    stripeWire: new Wire("stripe", scheduler, new Random(seed, "way to stripe"), weather, {
      usualMs: 80,
      timeoutMs: 15 * SECOND_MS,
      lateMs: 40 * SECOND_MS,
    }),
    money,
    registry: new ModelRegistry(databaseNowMs, world.pace === "minutes" ? 6 * SECOND_MS : 30 * MINUTE_MS),
    reading: {
      timeline,
      wire: databaseWire.beside(timeline, new Random(seed, "way of readers")),
      reader: new ModelUsageReader({
        nowMs: databaseNowMs,
        intake: world.intake,
        ledger,
        account: (...args) => accounts.reading(...args),
      }),
      tokens: TOKENS,
      checks: reads,
      pace: READING_PACES[world.pace],
    },
    databaseNowMs,
  };
}

/** How long Stripe is given to add up. */
export const RECONCILE_LAG_MS = 10 * MINUTE_MS;

function drawTraits(random: Random): StripeTraits {
  const some = (most: number) => (random.chance(0.5) ? 0 : random.spread(0.001, most));
  return {
    sumLagMs: random.spread(SECOND_MS, 8 * MINUTE_MS),
    droppedShare: some(0.05),
    refusedShare: some(0.03),
    throttledShare: some(0.1),
    burns: random.chance(0.5),
  };
}

/** Machines agree within a second or so; their seconds are not quite alike. */
export function drawDrift(random: Random): Drift {
  return { offsetMs: Math.round((random.unit() - 0.5) * SECOND_MS), rate: 1 + (random.unit() - 0.5) * 0.0004 };
}

const FAIL_OVER = "redis: a replica takes over that lacks the last writes";

/** What happens to the stores. Each is told in the history. */
export function disturbStores(world: World, stores: Stores): void {
  const { scheduler, history, redis, redisWire, databaseWire, stripeWire } = stores;
  const random = new Random(world.seed, "disturbances of stores");
  const unit = world.pace === "minutes" ? SECOND_MS : MINUTE_MS;
  const some = (most: number, what: string, run: () => void) => {
    for (let n = random.whole(0, most); n > 0; n -= 1) {
      const atMs = world.startMs + random.unit() * (world.endMs - world.startMs);
      scheduler.at(atMs, () => {
        history.note(() => what);
        run();
      });
    }
  };
  const downMs = () => random.spread(0.2, 30) * unit;
  some(2, "postgres: restarts", () => databaseWire.goDown(downMs()));
  some(2, "stripe: is away", () => stripeWire.goDown(downMs()));
  const rare = (share: number, what: string, run: () => void) => random.chance(share) && some(1, what, run);
  // Longer than it remembers identifiers.
  const longMs = () => random.whole(20, 30) * HOUR_MS;
  if (world.pace === "days") {
    rare(0.4, "stripe: is away for a day", () => stripeWire.goDown(longMs()));
    rare(0.3, "stripe: does what it is asked, and does not answer for a day", () => stripeWire.goDark(longMs()));
  }
  if (world.intake !== "redis") return;
  some(2, "redis: restarts with its data", () => redisWire.goDown(downMs()));
  rare(0.5, "redis: comes back empty", () => {
    redisWire.goDown(downMs());
    redis.wipe();
  });
  const failOver = () => {
    const lagMs = world.waitReplicas > 0 ? REPLICA_LAG_MS : Number.POSITIVE_INFINITY;
    redisWire.goDown(downMs());
    redis.failOver(random.whole(1, 20), lagMs, random.chance(0.5) ? 0 : random.whole(1, REDIS_SET_BACK_MS));
  };
  rare(0.4, FAIL_OVER, failOver);
  // When there is most to lose.
  if (random.chance(0.3)) {
    scheduler.at(world.burstMs + random.unit() * 2 * SECOND_MS, () => {
      history.note(() => FAIL_OVER);
      failOver();
    });
  }
  rare(0.3, "redis: the head of a shard is deleted", () => redis.forgetHead(random.whole(0, world.shardCount - 1)));
}
