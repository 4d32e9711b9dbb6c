// Limits of API keys in a world: seeded by those who take records, compared by somebody, asked for, and deleted by hand. What keys are told is held
// against what was acknowledged. All of it on chance of its own, so that a world without it is the same world.
import { type CompareIntakeLimitsOptions, compareIntakeLimits } from "../../src/app/compare-intake-limits.ts";
import { LimitSeeding } from "../../src/app/limit-seeding.ts";
import type { IntakeResult } from "../../src/app/ports/intake.ts";
import type { IntakeLimits, LedgerDrift } from "../../src/app/ports/limits.ts";
import type { SeedLimitsDependencies } from "../../src/app/seed-limits.ts";
import {
  countedQuantity,
  type KeyRef,
  type KeyUsage,
  keyId,
  LIMIT_CLOCK_SLACK_MS,
  LIMIT_WINDOWS,
  limitPolicyOf,
  limitWindowAt,
} from "../../src/domain/limits.ts";
import { shardOf } from "../../src/domain/shard.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import { limitKey } from "../../src/redis/keys.ts";
import { CATALOG } from "../catalog.ts";
import { Random } from "../random.ts";
import { type Call, intakeLimitsPort, limitLedgerPort } from "./limit-ports.ts";
import { Machine } from "./machine.ts";
import { identityOf } from "./model/ledger.ts";
import { contentOf } from "./oracle.ts";
import type { Timeline } from "./scheduler.ts";
import type { Stores } from "./stores.ts";
import type { Wire } from "./wire.ts";
import { DAY_MS, MINUTE_MS, SECOND_MS, type World } from "./world.ts";

export const LIMIT_METERS = limitPolicyOf(CATALOG).meters;
const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

export class LimitKeeping {
  readonly #world: World;
  readonly #stores: Stores;
  readonly #random: Random;
  readonly #timeline: Timeline;
  readonly #redisWire: Wire;
  readonly #databaseWire: Wire;
  readonly #keys: readonly KeyRef[];
  /** In the order in which their callers heard. */
  readonly #acknowledged: UsageRecord[] = [];
  #ids = 0;

  constructor(world: World, stores: Stores) {
    const { seed, customers } = world;
    this.#world = world;
    this.#stores = stores;
    this.#random = new Random(seed, "limits");
    this.#timeline = stores.scheduler.beside(new Random(seed, "order of limits"));
    this.#redisWire = stores.redisWire.beside(this.#timeline, new Random(seed, "way of limits to redis"));
    this.#databaseWire = stores.databaseWire.beside(this.#timeline, new Random(seed, "way of limits to postgres"));
    this.#keys = customers.map(({ customerId }) => ({ customerId, apiKeyId: "key" }));
  }

  /** Comparisons, questions and deletions, until the world ends. */
  start(): void {
    const { intake, startMs, endMs, burstMs } = this.#world;
    if (intake !== "redis") return;
    const machine = new Machine("limits", this.#timeline, { offsetMs: 0, rate: 1 });
    const parts = this.#parts(machine);
    for (let pass = 1; pass <= PASSES; pass += 1)
      this.#timeline.at(startMs + (pass * (endMs - startMs)) / PASSES, () => {
        // What fails is tried with the next pass.
        this.#compare(parts).catch(() => {});
      });
    const seeding = new LimitSeeding({ ...parts, logger: QUIET });
    const random = this.#random;
    // When much waits in the streams, too.
    const sometime = () =>
      random.chance(0.5) ? startMs + random.unit() * (endMs - startMs) : burstMs + random.unit() * 4 * SECOND_MS;
    for (let n = random.whole(0, 20); n > 0; n -= 1)
      this.#timeline.at(sometime(), () => this.#ask(parts.intake, seeding, random.pick(this.#keys)));
    for (let n = random.whole(0, 12); n > 0; n -= 1)
      this.#timeline.at(sometime(), () => this.#forget(random.pick(this.#keys), seeding));
  }

  /** Somebody deletes the counters of a key; who meets it next seeds it. */
  #forget(key: KeyRef, seeding: LimitSeeding): void {
    const { redis, history } = this.#stores;
    history.note(() => `redis: the counters of ${keyId(key)} are deleted`);
    redis.forgetLimits(limitKey(shardOf(key.customerId, this.#world.shardCount), key.customerId, key.apiKeyId));
    if (this.#random.chance(0.5)) seeding.want([key]);
  }

  /** What a process that takes records does about keys that are not counted. */
  onUncounted(machine: Machine): (keys: readonly KeyRef[]) => void {
    const seeding = new LimitSeeding({ ...this.#parts(machine), logger: QUIET });
    return (keys) => seeding.want(keys);
  }

  acknowledged(record: UsageRecord): void {
    this.#acknowledged.push(record);
  }

  /** Of a call that begins now: looks at what it is told. */
  listen(records: readonly UsageRecord[], results: Promise<readonly IntakeResult[]>): void {
    const heard = this.#acknowledged.length;
    results.then(
      (told) => {
        for (const [i, result] of told.entries()) {
          const record = records[i];
          if (record !== undefined && "usage" in result) this.#check(record, result.usage, heard);
        }
      },
      () => {},
    );
  }

  /** Everything is in the ledger, and nothing goes wrong any more: what Redis counts is what the ledger says. */
  async atTheEnd(): Promise<void> {
    if (this.#world.intake !== "redis") return;
    const straight: Call = async (effect) => effect();
    const nowMs = () => this.#stores.scheduler.nowMs;
    const clock = { nowMs, monotonicMs: nowMs, sleep: async () => {} };
    const parts = { ...this.#partsOver(straight, straight, nowMs), clock };
    // What stands askew since Redis lost something is set right.
    await this.#compare(parts);
    await compareIntakeLimits(
      {
        ...parts,
        keys: this.#list(),
        logger: QUIET,
        onDrift: (drift) => this.#failFor(drift, "after all was compared"),
      },
      { mayBegin: () => true },
    );
  }

  #compare(parts: SeedLimitsDependencies & Pick<CompareIntakeLimitsOptions, "intake" | "shardCount">) {
    const onDrift = (drift: LedgerDrift) => {
      if (this.#isUntroubled) this.#failFor(drift, "though Redis lost nothing");
    };
    const options = { ...parts, keys: this.#list(), logger: QUIET, onDrift };
    return compareIntakeLimits(options, { mayBegin: () => true });
  }

  #failFor({ counted, recorded, window, ...key }: LedgerDrift, when: string): void {
    const message = `${keyId(key)} used ${recorded} in a ${window}, and Redis counted ${counted}, ${when}`;
    this.#stores.oracle.fail("limits", message, `shard ${shardOf(key.customerId, this.#world.shardCount)}`);
  }

  /** Nothing is forgotten that was sent again, nor refused, nor lost. */
  get #isUntroubled(): boolean {
    const { redis, oracle } = this.#stores;
    const { startMs, endMs } = this.#world;
    return !redis.wasTroubled && oracle.refused.size === 0 && endMs - startMs < DAY_MS / 2;
  }

  #ask(intake: IntakeLimits, seeding: LimitSeeding, key: KeyRef): void {
    const heard = this.#acknowledged.length;
    intake.read([key]).then(
      ([usage]) => {
        if (usage === undefined) seeding.want([key]);
        this.#check(key, usage, heard);
      },
      () => {},
    );
  }

  /** Never less than what had been acknowledged when the question was asked. A clock that is set otherwise asks about other times. */
  #check(key: KeyRef, usage: KeyUsage | undefined, heard: number): void {
    const { oracle, scheduler, checks } = this.#stores;
    if (usage === undefined || checks.tailsLost.has(shardOf(key.customerId, this.#world.shardCount))) return;
    if (Math.abs(usage.nowMs - scheduler.nowMs) > LIMIT_CLOCK_SLACK_MS) return;
    const counting = new Map<string, UsageRecord>();
    for (const record of this.#acknowledged.slice(0, heard))
      if (keyId(record) === keyId(key) && this.#isKept(record))
        counting.set(`${identityOf(record)} ${contentOf(record)}`, record);
    for (const window of LIMIT_WINDOWS) {
      const { startMs, endMs } = limitWindowAt(window, usage.nowMs);
      const within = [...counting.values()].filter(({ eventTimeMs }) => eventTimeMs >= startMs && eventTimeMs < endMs);
      const least = within.reduce((sum, record) => sum + countedQuantity(record, LIMIT_METERS), 0n);
      if (usage[window] < least)
        oracle.fail(
          "limits",
          `${keyId(key)} is told to have used ${usage[window]} in a ${window} in which ${least} had been acknowledged`,
          ...within.map(identityOf),
          `shard ${shardOf(key.customerId, this.#world.shardCount)}`,
        );
    }
  }

  #isKept(record: UsageRecord): boolean {
    const { oracle } = this.#stores;
    const [identity, content] = [identityOf(record), contentOf(record)];
    const isLost = oracle.lost.some((one) => identityOf(one.record) === identity && contentOf(one.record) === content);
    return !isLost && !oracle.voided.has(identity) && !oracle.refused.has(`${identity} ${content}`);
  }

  #parts(machine: Machine) {
    const clock = machine.clock(undefined, this.#timeline);
    // Often so slow that the ledger moves on between two steps.
    const unitMs = this.#world.pace === "minutes" ? SECOND_MS : MINUTE_MS;
    const hold = () => ({ holdMs: this.#random.chance(0.5) ? 0 : this.#random.unit() * 2 * unitMs });
    const toRedis: Call = (effect) => this.#redisWire.call(machine, effect, { ...hold(), repeatable: true });
    const toLedger: Call = (effect) => this.#databaseWire.call(machine, effect, hold());
    return { ...this.#partsOver(toRedis, toLedger, clock.nowMs), clock };
  }

  #partsOver(toRedis: Call, toLedger: Call, nowMs: () => number) {
    const { redis, ledger } = this.#stores;
    const { shardCount } = this.#world;
    const randomId = () => {
      this.#ids += 1;
      return `limits-${this.#ids}`;
    };
    return {
      intake: intakeLimitsPort(toRedis, { redis, shardCount, nowMs, randomId }),
      ledger: limitLedgerPort(toLedger, ledger, LIMIT_METERS),
      meters: LIMIT_METERS,
      shardCount,
      randomId,
    };
  }

  #list() {
    // The test of a page's end is that it is short.
    const keys = this.#keys.map((key) => ({
      ...key,
      name: "",
      tier: "",
      tokensPerMinute: 1n,
      tokensPerDay: 1n,
      disabled: false,
      createdMs: 0,
      updatedMs: 0,
      disabledMs: undefined,
    }));
    return { list: async () => keys };
  }
}

/** Comparisons within a world. */
const PASSES = 12;
