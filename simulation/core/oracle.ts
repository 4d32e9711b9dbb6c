// What is true: what each client sent and was told, what became durable, what was lost on purpose. Knows nothing of how the service works.

import type { UsageRecord } from "../../src/domain/usage-record.ts";
import { billed, EVENT_NAMES, type EventName } from "../catalog.ts";
import { identityOf } from "./model/ledger.ts";
import type { StoredEntry } from "./model/redis.ts";

/** Something that must not be. */
export interface Violation {
  /** Which rule. */
  readonly checker: string;
  readonly message: string;
  /** What it is about, to find its history by. */
  readonly subjects: readonly string[];
}

/** What one client sent under one key, of one content. */
interface Sent {
  readonly record: UsageRecord;
  acknowledged: boolean;
}

export interface LostRecord {
  readonly shard: number;
  readonly appendedMs: number;
  readonly record: UsageRecord;
  /** Lost in a way that the service says it cannot notice. */
  readonly isExcused: boolean;
}

export class Oracle {
  readonly violations: Violation[] = [];
  /** By identity, then by fingerprint. */
  readonly sent = new Map<string, Map<string, Sent>>();
  /** What the ledger counted, by identity. */
  readonly applied = new Map<string, UsageRecord>();
  /** Taken back, by identity. */
  readonly voided = new Set<string>();
  /** Listed by the ledger as refused: identity and fingerprint. */
  readonly refused = new Set<string>();
  readonly lost: LostRecord[] = [];
  readonly #onViolation: () => void;

  constructor(onViolation: () => void) {
    this.#onViolation = onViolation;
  }

  fail(checker: string, message: string, ...subjects: readonly string[]): void {
    this.violations.push({ checker, message, subjects });
    this.#onViolation();
  }

  sends(record: UsageRecord): void {
    const identity = identityOf(record);
    const variants = this.sent.get(identity) ?? new Map<string, Sent>();
    this.sent.set(identity, variants);
    const content = contentOf(record);
    if (!variants.has(content)) variants.set(content, { record, acknowledged: false });
  }

  acknowledges(record: UsageRecord): void {
    const sent = this.sent.get(identityOf(record))?.get(contentOf(record));
    if (sent !== undefined) sent.acknowledged = true;
  }

  counts(record: UsageRecord): void {
    const identity = identityOf(record);
    if (this.applied.has(identity)) this.fail("counted once", `${identity} is in the ledger twice`, identity);
    if (!this.sent.get(identity)?.has(contentOf(record)))
      this.fail("counted as sent", `${identity} is in the ledger with a content that nobody sent`, identity);
    this.applied.set(identity, record);
  }

  voids(record: UsageRecord): void {
    const identity = identityOf(record);
    if (this.voided.has(identity)) this.fail("voided once", `${identity} is taken back twice`, identity);
    if (!this.applied.has(identity))
      this.fail("voided once", `${identity} is taken back, and was not counted`, identity);
    this.voided.add(identity);
  }

  /** What counts: all that is in the ledger and was not taken back. */
  *counting(): Iterable<UsageRecord> {
    for (const [identity, record] of this.applied) if (!this.voided.has(identity)) yield record;
  }

  refuses(record: UsageRecord): void {
    this.refused.add(`${identityOf(record)} ${contentOf(record)}`);
  }

  loses(shard: number, entry: StoredEntry, isExcused: boolean): void {
    for (const record of entry.records) this.lost.push({ shard, appendedMs: entry.appendedMs, record, isExcused });
  }

  /** What all that counts bills, by customer and event name. */
  billable(): Map<string, bigint> {
    const sums = new Map<string, bigint>();
    for (const record of this.counting()) {
      const quantities = quantitiesOf(record);
      for (const eventName of EVENT_NAMES) {
        const key = `${record.customerId} ${eventName}`;
        sums.set(key, (sums.get(key) ?? 0n) + quantities[eventName]);
      }
    }
    return sums;
  }
}

export function quantitiesOf(record: UsageRecord): Record<EventName, bigint> {
  const of = (meter: string) => record.measurements.find((one) => one.meter === meter)?.quantity ?? 0n;
  return billed({ model: record.model, input: of("input_tokens"), output: of("output_tokens") });
}

/** Content of a record, told apart without the service's fingerprint. */
export function contentOf({ eventTimeMs, model, measurements }: UsageRecord): string {
  return `${eventTimeMs} ${model} ${measurements.map(({ meter, quantity }) => `${meter}=${quantity}`).join(" ")}`;
}
