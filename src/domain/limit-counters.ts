// Counters of one API key, as they stand in a ring of places. Pure.
import { type LimitDelta, type LimitWindow, limitWindowMs, placeOf } from "./limits.ts";

/** What was used in one window, and of that voided. */
export interface WindowCounter {
  readonly window: LimitWindow;
  readonly windowStartMs: number;
  readonly used: bigint;
  readonly voided: bigint;
}

/** A window in which two counts of one key differ. */
export interface CounterDifference {
  readonly window: LimitWindow;
  readonly windowStartMs: number;
  readonly counted: bigint;
  readonly recorded: bigint;
}

/** Adds deltas of the same key: where two windows share a place, the later stays, and alone. */
export function addToCounters(
  counters: readonly WindowCounter[],
  deltas: readonly Omit<LimitDelta, "customerId" | "apiKeyId">[],
): WindowCounter[] {
  const ring = new Map(counters.map((counter) => [placeOf(counter.window, counter.windowStartMs), counter]));
  for (const { window, windowStartMs, used } of deltas) {
    const place = placeOf(window, windowStartMs);
    const stands = ring.get(place);
    if (stands === undefined || stands.windowStartMs < windowStartMs)
      ring.set(place, { window, windowStartMs, used, voided: 0n });
    else if (stands.windowStartMs === windowStartMs) ring.set(place, { ...stands, used: stands.used + used });
  }
  return [...ring.values()];
}

/**
 * Where what the intake counted differs from what was recorded, in windows that end after `sinceMs`. What the ledger knows to be void is
 * taken from both: the intake hears of voids late.
 */
export function counterDifferences(
  counted: readonly WindowCounter[],
  recorded: readonly WindowCounter[],
  sinceMs: number,
): CounterDifference[] {
  const here = new Map(counted.map((counter) => [identityOf(counter), counter]));
  const there = new Map(recorded.map((counter) => [identityOf(counter), counter]));
  return [...new Map([...here, ...there])].flatMap(([identity, { window, windowStartMs }]) => {
    if (windowStartMs + limitWindowMs(window) <= sinceMs) return [];
    const known = there.get(identity);
    const truth = known === undefined ? 0n : known.used - known.voided;
    const ours = here.get(identity);
    const told = ours === undefined ? 0n : ours.used - larger(ours.voided, known?.voided ?? 0n);
    return told === truth ? [] : [{ window, windowStartMs, counted: told, recorded: truth }];
  });
}

/** Windows of which the ledger knows more to be void than the intake does. */
export function unheardVoids(counted: readonly WindowCounter[], recorded: readonly WindowCounter[]): WindowCounter[] {
  const here = new Map(counted.map((counter) => [identityOf(counter), counter.voided]));
  return recorded.filter((counter) => counter.voided > (here.get(identityOf(counter)) ?? counter.voided));
}

function identityOf({ window, windowStartMs }: WindowCounter): string {
  return `${window} ${windowStartMs}`;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
