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

/** A day and time of day that a billing cycle is anchored to; what is null is as it is at the subscription's creation. */
export interface AnchorConfig {
  readonly day_of_month: number;
  readonly month: number | null;
  readonly hour: number | null;
  readonly minute: number | null;
  readonly second: number | null;
}

/** The first time after `now` that fits. A month that is too short has it on its last day. */
export function nextAnchor(config: AnchorConfig, now: number): number {
  const from = new Date(now * 1_000);
  const timeOfDay =
    (config.hour ?? from.getUTCHours()) * 3_600 +
    (config.minute ?? from.getUTCMinutes()) * 60 +
    (config.second ?? from.getUTCSeconds());
  for (let months = from.getUTCMonth(); ; months += 1) {
    const month = months % 12;
    if (config.month !== null && config.month !== month + 1) continue;
    const lastDay = new Date(Date.UTC(from.getUTCFullYear(), months + 1, 0)).getUTCDate();
    const day = Math.min(config.day_of_month, lastDay);
    const anchor = Date.UTC(from.getUTCFullYear(), months, day) / 1_000 + timeOfDay;
    if (anchor > now) return anchor;
  }
}
