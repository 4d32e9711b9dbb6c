// The period before a period. The API tells the running one only, so this is reckoned from its ends; the page says from when to when.

/** Half-open, milliseconds since 1970. */
export interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

interface Place {
  readonly month: number;
  readonly day: number;
  readonly msOfDay: number;
}

const DAY_MS = 86_400_000;

/**
 * Where the ends are whole months apart, so many months before, in UTC: on the later day of the two ends, or the last day of a month that has
 * no such day, as subscriptions renew. Else as long as the period is.
 */
export function periodBefore({ startMs, endMs }: Span): Span {
  const start = placeOf(startMs);
  const end = placeOf(endMs);
  const months = end.month - start.month;
  const day = Math.max(start.day, end.day);
  const on = (month: number) => onDay(month, day) + start.msOfDay;
  const isMonths = months > 0 && on(start.month) === startMs && on(end.month) === endMs;
  return { startMs: isMonths ? on(start.month - months) : startMs - (endMs - startMs), endMs: startMs };
}

/** Months since the year 0. */
function placeOf(ms: number): Place {
  const date = new Date(ms);
  return {
    month: date.getUTCFullYear() * 12 + date.getUTCMonth(),
    day: date.getUTCDate(),
    msOfDay: ms - Math.floor(ms / DAY_MS) * DAY_MS,
  };
}

/** The midnight that begins this day of the month, or its last day. */
function onDay(month: number, day: number): number {
  const year = Math.floor(month / 12);
  const days = new Date(Date.UTC(year, (month % 12) + 1, 0)).getUTCDate();
  return Date.UTC(year, month % 12, Math.min(day, days));
}
