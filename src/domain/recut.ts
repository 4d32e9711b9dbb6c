// What a new billing-period boundary does to windows that were summed before it was known. Pure.
import { type Interval, windowAt } from "./window.ts";

/** A window that spans new boundaries, and what it becomes: adjacent pieces, at least two, the first of which starts where it did. */
export interface SplitWindow extends Interval {
  readonly pieces: readonly Interval[];
}

/** Windows of `sizeMs`, cut at the `known` boundaries, that `added` ones cut further; ascending. Both lists ascend. */
export function splitWindows(added: readonly number[], sizeMs: number, known: readonly number[]): SplitWindow[] {
  const all = [...known, ...added].sort((a, b) => a - b);
  const split = new Map<number, SplitWindow>();
  for (const boundary of added) {
    const { startMs, endMs } = windowAt(boundary, sizeMs, known);
    if (startMs === boundary || split.has(startMs)) continue;
    const pieces: Interval[] = [];
    for (let atMs = startMs; atMs < endMs; ) {
      const piece = windowAt(atMs, sizeMs, all);
      pieces.push(piece);
      atMs = piece.endMs;
    }
    split.set(startMs, { startMs, endMs, pieces });
  }
  return [...split.values()].sort((a, b) => a.startMs - b.startMs);
}

/**
 * Divides a total in proportion to `shares` (0 or more each): the parts add up to the total exactly, and equal the shares where
 * those do. Without any share it all stays in the first part.
 */
export function divideTotal(total: bigint, shares: readonly bigint[]): bigint[] {
  const sum = shares.reduce((a, b) => a + b, 0n);
  if (sum === 0n) return shares.map((_, i) => (i === 0 ? total : 0n));
  let before = 0n;
  let given = 0n;
  return shares.map((share) => {
    before += share;
    const part = (total * before) / sum - given;
    given += part;
    return part;
  });
}
