// What a simulation says: one object for machines, a page of text for people.
import { EVENT_NAMES, type EventName } from "./catalog.ts";
import type { Fates } from "./checks.ts";
import type { Halves, SimulationOptions } from "./halves.ts";
import type { QuarterResult } from "./quarter.ts";

export interface SimulationReport {
  readonly seed: number;
  readonly customers: number;
  readonly calm: boolean;
  /** What does not add up; nothing, if all is well. */
  readonly violations: readonly string[];
  /** By sink. Quantities are decimal text. */
  readonly halves: Readonly<Record<string, object>>;
}

export function toReport({ seed, customers, calm }: SimulationOptions, halves: Halves): SimulationReport {
  const violations = [...halves].flatMap(([sink, { violations: found }]) => found.map((one) => `${sink}: ${one}`));
  const shown = [...halves].map(([sink, half]) => [sink, shownHalf(half)] as const);
  return { seed, customers, calm, violations, halves: Object.fromEntries(shown) };
}

function shownHalf({ violations: _, fates, ...rest }: QuarterResult): object {
  const quantities = EVENT_NAMES.map((name) => [name, shownFates(fates[name])] as const);
  return { ...rest, quantities: Object.fromEntries(quantities) as Record<EventName, object> };
}

function shownFates(fates: Fates): object {
  return Object.fromEntries(Object.entries(fates).map(([fate, quantity]) => [fate, String(quantity)]));
}

export function toText(report: SimulationReport): string {
  const { violations, ...rest } = report;
  const found = violations.length === 0 ? "Everything adds up." : `${violations.length} things do not add up:`;
  return `${JSON.stringify(rest, undefined, 2)}\n${[found, ...violations].join("\n")}\n`;
}
