// Windows: half-open stretches of time that sums are kept over. All times are milliseconds since the epoch, UTC.

/** Half-open: startMs is in, endMs is not. */
export interface Interval {
  readonly startMs: number;
  readonly endMs: number;
}

/** Pending quantities wait for Stripe in these. */
export const MINUTE_MS = 60_000;
/** The finest rollup: every time zone in use has its day begin on one of these. */
export const QUARTER_HOUR_MS = 15 * MINUTE_MS;
/** The coarse rollup. */
export const DAY_MS = 24 * 60 * MINUTE_MS;

/**
 * The window of `sizeMs` that holds `timeMs`, cut at the customer's billing-period boundaries, so that no sum ever spans one.
 * `boundaries` ascend. Cost: linear in their number, which is a few a year.
 */
export function windowAt(timeMs: number, sizeMs: number, boundaries: readonly number[]): Interval {
  let startMs = Math.floor(timeMs / sizeMs) * sizeMs;
  let endMs = startMs + sizeMs;
  for (const boundary of boundaries) {
    if (boundary > startMs && boundary <= timeMs) startMs = boundary;
    if (boundary > timeMs && boundary < endMs) endMs = boundary;
  }
  return { startMs, endMs };
}
