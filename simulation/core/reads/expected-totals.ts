// What totals must be, worked out from the records alone, apart from the service's code.
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import type { Interval } from "../../../src/domain/window.ts";

/** What is asked of one customer's usage here: no labels. */
export interface Asked {
  readonly customerId: string;
  readonly apiKeyId: string | undefined;
  readonly models: readonly string[];
  readonly meters: readonly string[];
  readonly groupByApiKey: boolean;
  readonly groupByModel: boolean;
}

/** Quantity and number of records, by start of window, meter, API key and model. */
export type Totals = ReadonlyMap<string, string>;

/** A total of an answer, as far as it is looked at here. */
export interface GivenTotal {
  readonly window: Interval;
  readonly meter: string;
  readonly apiKeyId: string;
  readonly model: string;
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/** `grainMs`: how finely the interval is cut; 0: not at all. */
export function totalsOf(records: Iterable<UsageRecord>, asked: Asked, interval: Interval, grainMs: number): Totals {
  const sums = new Map<string, [quantity: bigint, count: bigint]>();
  for (const { eventTimeMs, apiKeyId, model, measurements } of records) {
    if (eventTimeMs < interval.startMs || eventTimeMs >= interval.endMs) continue;
    if (asked.apiKeyId !== undefined && asked.apiKeyId !== apiKeyId) continue;
    if (asked.models.length > 0 && !asked.models.includes(model)) continue;
    const startMs =
      grainMs === 0 ? interval.startMs : Math.max(Math.floor(eventTimeMs / grainMs) * grainMs, interval.startMs);
    for (const { meter, quantity } of [...measurements, { meter: "requests", quantity: 1n }]) {
      if (asked.meters.length > 0 && !asked.meters.includes(meter)) continue;
      const key = keyOf(startMs, meter, asked.groupByApiKey ? apiKeyId : "", asked.groupByModel ? model : "");
      const [sum, count] = sums.get(key) ?? [0n, 0n];
      sums.set(key, [sum + quantity, count + 1n]);
    }
  }
  return new Map([...sums].map(([key, [sum, count]]) => [key, shown(sum, count)]));
}

export function toTotals(given: Iterable<GivenTotal>): Totals {
  const totals = new Map<string, string>();
  for (const { window, meter, apiKeyId, model, quantity, recordCount } of given)
    totals.set(keyOf(window.startMs, meter, apiKeyId, model), shown(quantity, recordCount));
  return totals;
}

/** The first that differs, in words; undefined: they are the same. */
export function differenceOf(given: Totals, expected: Totals): string | undefined {
  for (const [key, value] of given) {
    const other = expected.get(key);
    if (other !== value) return `${key} is ${value}, and must be ${other ?? "nothing"}`;
  }
  for (const [key, value] of expected) if (!given.has(key)) return `${key} is not there, and must be ${value}`;
  return undefined;
}

function keyOf(startMs: number, meter: string, apiKeyId: string, model: string): string {
  return `${startMs} ${meter} ${apiKeyId} ${model}`;
}

function shown(quantity: bigint, count: bigint): string {
  return `${quantity} in ${count}`;
}
