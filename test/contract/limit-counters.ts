// What counters of limits promise, whatever intake they are counted in: never fewer than was acknowledged, and in the end what the ledger says.
import { expect } from "vitest";
import type { Intake, IntakeResult } from "../../src/app/ports/intake.ts";
import {
  countedQuantity,
  type KeyRef,
  type KeyUsage,
  keyId,
  limitPolicyOf,
  limitWindowAt,
} from "../../src/domain/limits.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import { testCatalog } from "../support/catalog.ts";
import { usageRecord } from "../support/records.ts";
import { randomFrom } from "../support/seed.ts";

export const LIMIT_METERS = limitPolicyOf(testCatalog()).meters;
const MINUTE_MS = 60_000;

/** Counters over stores, and what may happen to them. */
export interface CountersUnderTest {
  /** The clock of everybody who counts. */
  nowMs: number;
  /** They share the stores; all but the first know of no key. */
  readonly replicas: readonly Intake[];
  define(key: KeyRef): Promise<void>;
  /** Undefined: not known now. */
  read(key: KeyRef): Promise<KeyUsage | undefined>;
  /** False: not in the ledger yet. */
  voidRecord(record: UsageRecord): Promise<boolean>;
  /** What may happen while records are taken. */
  disturb(key: KeyRef, drawn: number): Promise<void>;
  /** What may happen between calls. Whether from here on repeats may be taken for new. */
  interrupt(drawn: number): Promise<boolean>;
  /** Everything in the ledger, everything compared. How many counters differed. */
  settle(): Promise<number>;
}

interface Taken {
  readonly record: UsageRecord;
  /** When it was first acknowledged; undefined: not yet. */
  acknowledgedAt: number | undefined;
  isVoid: boolean;
}

/** One run, drawn from a seed. How often a usage was told with a record. */
export async function playCounters(subject: CountersUnderTest, seed: number): Promise<number> {
  return await new Run(subject, seed).play();
}

class Run {
  readonly #subject: CountersUnderTest;
  readonly #seed: number;
  readonly #random: () => number;
  /** By customer and idempotency key. */
  readonly #taken = new Map<string, Taken>();
  readonly #defined = new Set<number>();
  #time = 0;
  #told = 0;
  #forgetful = false;

  constructor(subject: CountersUnderTest, seed: number) {
    this.#subject = subject;
    this.#seed = seed;
    this.#random = randomFrom(seed);
  }

  async play(): Promise<number> {
    await this.#define(0);
    for (let round = 0; round < 14; round += 1) {
      if (this.#below(4) === 0) this.#subject.nowMs += (20 + this.#below(60)) * 1_000;
      if (this.#below(4) === 0 && (await this.#subject.interrupt(this.#random()))) this.#forgetful = true;
      const works = Array.from({ length: 3 + this.#below(4) }, () => this.#submit());
      if (this.#below(3) === 0) works.push(this.#void());
      if (this.#below(3) === 0) works.push(this.#define(this.#below(6)));
      if (this.#below(3) === 0) works.push(this.#subject.disturb(keyOf(this.#below(6)), this.#random()));
      works.push(this.#read());
      await Promise.all(works);
    }
    await this.#end();
    return this.#told;
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #about(key: KeyRef): string {
    return `SEED=${this.#seed}, ${keyId(key)}`;
  }

  async #define(n: number): Promise<void> {
    if (this.#defined.has(n)) return;
    this.#defined.add(n);
    await this.#subject.define(keyOf(n));
  }

  /** One call to one replica: new records and some that were sent before. */
  async #submit(): Promise<void> {
    const sent = Array.from({ length: 1 + this.#below(5) }, () => this.#draw());
    const { replicas } = this.#subject;
    const atStart = this.#tick();
    const results = (await replicas[this.#below(replicas.length)]?.record(sent.map(({ record }) => record))) ?? [];
    // Voids that began before the answer may be in it, or not.
    for (const [i, one] of sent.entries()) this.#check(one, results[i], atStart);
    for (const one of sent) one.acknowledgedAt ??= this.#tick();
  }

  #draw(): Taken {
    const known = [...this.#taken.values()];
    const again = this.#below(3) === 0 ? known[this.#below(known.length)] : undefined;
    if (again !== undefined) return again;
    const eventTimeMs = this.#subject.nowMs - this.#below(3) * 30_000 + this.#below(10_000);
    const measurements = { input_tokens: BigInt(this.#below(50)), output_tokens: BigInt(this.#below(9)) };
    const key = this.#below(5) === 0 ? { customerId: "cus_0", apiKeyId: "" } : keyOf(this.#below(6));
    const record = usageRecord({ ...key, eventTimeMs, measurements });
    const taken: Taken = { record, acknowledgedAt: undefined, isVoid: false };
    this.#taken.set(`${record.customerId} ${record.idempotencyKey}`, taken);
    return taken;
  }

  #check({ record }: Taken, result: IntakeResult | undefined, atStart: number): void {
    expect(result, this.#about(record)).toHaveProperty("outcome");
    const usage = result !== undefined && "usage" in result ? result.usage : undefined;
    if (usage === undefined) return;
    this.#told += 1;
    this.#expectAtLeast(usage, record, atStart);
  }

  /** Never fewer than was acknowledged before it was asked. */
  #expectAtLeast(usage: KeyUsage, key: KeyRef, atStart: number): void {
    const least = this.#sums(
      key,
      usage.nowMs,
      ({ acknowledgedAt = Number.POSITIVE_INFINITY }) => acknowledgedAt <= atStart,
    );
    for (const window of ["minute", "day"] as const)
      expect(usage[window] >= least[window], `${this.#about(key)}: ${window} ${usage[window]} < ${least[window]}`).toBe(
        true,
      );
  }

  #sums(key: KeyRef, atMs: number, counts: (taken: Taken) => boolean) {
    const sums = { minute: 0n, day: 0n };
    for (const taken of this.#taken.values()) {
      const { record, isVoid } = taken;
      if (keyId(record) !== keyId(key) || isVoid || !counts(taken)) continue;
      for (const window of ["minute", "day"] as const)
        if (limitWindowAt(window, record.eventTimeMs).startMs === limitWindowAt(window, atMs).startMs)
          sums[window] += countedQuantity(record, LIMIT_METERS);
    }
    return sums;
  }

  async #void(): Promise<void> {
    const known = [...this.#taken.values()].filter((one) => one.acknowledgedAt !== undefined && !one.isVoid);
    const victim = known[this.#below(known.length)];
    if (victim === undefined) return;
    victim.isVoid = true;
    if (!(await this.#subject.voidRecord(victim.record))) victim.isVoid = false;
  }

  async #read(): Promise<void> {
    const key = keyOf([...this.#defined][this.#below(this.#defined.size)] ?? 0);
    const atStart = this.#tick();
    const usage = await this.#subject.read(key);
    if (usage !== undefined) this.#expectAtLeast(usage, key, atStart);
  }

  async #end(): Promise<void> {
    const drifts = await this.#subject.settle();
    if (!this.#forgetful) expect(drifts, `SEED=${this.#seed}`).toBe(0);
    for (const n of this.#defined) {
      const { nowMs } = this.#subject;
      const usage = await this.#subject.read(keyOf(n));
      expect(usage, this.#about(keyOf(n))).toEqual({ nowMs, ...this.#sums(keyOf(n), nowMs, () => true) });
    }
  }

  #tick(): number {
    this.#time += 1;
    return this.#time;
  }
}

function keyOf(n: number): KeyRef {
  return { customerId: `cus_${n % 3}`, apiKeyId: `key_${n % 4}` };
}

/** Three minutes before the next day of UTC, so that days turn too, and never before the database's own time. */
export function beforeMidnight(): number {
  return limitWindowAt("day", Date.now()).endMs - 3 * MINUTE_MS > Date.now()
    ? limitWindowAt("day", Date.now()).endMs - 3 * MINUTE_MS
    : limitWindowAt("day", Date.now()).endMs + 24 * 60 * MINUTE_MS - 3 * MINUTE_MS;
}
