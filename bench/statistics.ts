// Summaries of a few runs.

/** The middle, and how far the runs lie apart. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Undefined of nothing. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const [min, max] = [sorted[0], sorted.at(-1)];
  return min === undefined || max === undefined ? undefined : { median: quantileOf(sorted, 0.5), min, max };
}

/** Of ascending values, at least one; `quantile` in 0..1. Between two values, the nearer part of each. */
export function quantileOf(sorted: ArrayLike<number>, quantile: number): number {
  const place = (sorted.length - 1) * quantile;
  const low = sorted[Math.floor(place)] ?? Number.NaN;
  const high = sorted[Math.ceil(place)] ?? Number.NaN;
  return low + (high - low) * (place - Math.floor(place));
}
