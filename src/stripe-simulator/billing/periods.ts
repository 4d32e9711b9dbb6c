// Billing periods: where they begin and end, given an anchor. All times are unix seconds, UTC.

/** Of a recurring price. */
export interface Interval {
  readonly interval: "day" | "week" | "month" | "year";
  readonly interval_count: number;
}

/**
 * The anchor moved by `steps` intervals. Months keep the anchor's day and time of day; a month that is too short ends on its
 * last day, and the next long one is back on the anchor's day.
 */
export function periodBoundary(anchor: number, { interval, interval_count }: Interval, steps: number): number {
  const count = steps * interval_count;
  if (interval === "day") return anchor + count * 86_400;
  if (interval === "week") return anchor + count * 7 * 86_400;
  const from = new Date(anchor * 1_000);
  const months = from.getUTCFullYear() * 12 + from.getUTCMonth() + (interval === "year" ? 12 * count : count);
  const year = Math.floor(months / 12);
  const month = months - year * 12;
  const lastDay = new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
  const day = Math.min(from.getUTCDate(), lastDay);
  const timeOfDay = ((anchor % 86_400) + 86_400) % 86_400;
  return Date.UTC(year, month, day) / 1_000 + timeOfDay;
}

/** The first boundary after `time`. A time before the anchor has boundaries, too. */
export function nextBoundary(anchor: number, interval: Interval, time: number): number {
  const lengthAtMost = { day: 1, week: 7, month: 31, year: 366 }[interval.interval] * interval.interval_count * 86_400;
  let steps = Math.floor((time - anchor) / lengthAtMost);
  while (periodBoundary(anchor, interval, steps) > time) steps -= 1;
  while (periodBoundary(anchor, interval, steps) <= time) steps += 1;
  return periodBoundary(anchor, interval, steps);
}
