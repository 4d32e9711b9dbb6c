// What is true, by the simulation's own account: every record that was acknowledged, once, with what it must bill.
import { billed, EVENT_NAMES, type EventName } from "./catalog.ts";
import type { WorldRecord } from "./world.ts";

/** Half-open, milliseconds. */
export interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

export function isWithin(timeMs: number, { startMs, endMs }: Span): boolean {
  return timeMs >= startMs && timeMs < endMs;
}

interface Fact {
  readonly eventTimeMs: number;
  readonly arrivedMs: number;
  readonly quantities: Record<EventName, bigint>;
  voided: boolean;
}

export class Oracle {
  /** By customer, then by key. */
  readonly #facts = new Map<number, Map<string, Fact>>();
  /** Acknowledged, repeats aside. */
  records = 0;

  /** A record was acknowledged as new. Throws when it was acknowledged as new before. */
  recorded(record: WorldRecord, arrivedMs: number): void {
    const facts = this.#factsOf(record.customer);
    if (facts.has(record.key)) throw new Error(`${record.key} was acknowledged as new twice`);
    const { eventTimeMs } = record;
    facts.set(record.key, { eventTimeMs, arrivedMs, quantities: billed(record), voided: false });
    this.records += 1;
  }

  has(record: WorldRecord): boolean {
    return this.#factsOf(record.customer).has(record.key);
  }

  /** A record was taken back: nothing is to be billed for it. False when it was before. */
  voided({ customer, key }: WorldRecord): boolean {
    const fact = this.#factsOf(customer).get(key);
    if (fact === undefined) throw new Error(`${key} was voided, but never acknowledged`);
    const isFirst = !fact.voided;
    fact.voided = true;
    return isFirst;
  }

  /** What was recorded with an event time in the span. */
  sum(customer: number, eventName: EventName, { startMs, endMs }: Span): bigint {
    let sum = 0n;
    for (const fact of this.#factsOf(customer).values()) {
      if (!fact.voided && fact.eventTimeMs >= startMs && fact.eventTimeMs < endMs) sum += fact.quantities[eventName];
    }
    return sum;
  }

  total(customer: number): Record<EventName, bigint> {
    const everything = { startMs: Number.NEGATIVE_INFINITY, endMs: Number.POSITIVE_INFINITY };
    const entries = EVENT_NAMES.map((name) => [name, this.sum(customer, name, everything)] as const);
    return Object.fromEntries(entries) as Record<EventName, bigint>;
  }

  #factsOf(customer: number): Map<string, Fact> {
    const facts = this.#facts.get(customer) ?? new Map<string, Fact>();
    this.#facts.set(customer, facts);
    return facts;
  }
}
