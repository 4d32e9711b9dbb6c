// Named periods and windows in a time zone. Uses the TC39 Temporal API (its polyfill until Node ships it): days and months of a zone,
// across clock changes, are not to be computed by hand.
import { Temporal } from "temporal-polyfill";
import type { Interval } from "./window.ts";
import { QUARTER_HOUR_MS } from "./window.ts";

/** A stretch of time relative to now. */
export type NamedPeriod = "billing_period" | "current_month" | "today";

/** How finely an interval is cut; "all" is one window. Hours, days and months are those of the time zone. */
export type WindowSize = "all" | "quarter_hour" | "hour" | "day" | "month";

/** Whether `timeZone` is an IANA name that this runtime knows. */
export function isTimeZone(timeZone: string): boolean {
  // Offsets such as "+01:00" are valid to Temporal, but not IANA names.
  if (!/^[A-Za-z]/.test(timeZone)) return false;
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(timeZone);
    return true;
  } catch {
    return false;
  }
}

/** The calendar period of `timeZone` that holds `nowMs`. */
export function calendarPeriod(period: "current_month" | "today", nowMs: number, timeZone: string): Interval {
  const day = Temporal.Instant.fromEpochMilliseconds(nowMs).toZonedDateTimeISO(timeZone).startOfDay();
  if (period === "today") return between(day, day.add({ days: 1 }));
  const month = day.with({ day: 1 }).startOfDay();
  return between(month, month.add({ months: 1 }));
}

/** Cuts an interval into adjacent windows; the first and the last may be partial. Undefined when there would be more than `most`. */
export function cutIntoWindows(
  interval: Interval,
  size: WindowSize,
  timeZone: string,
  most: number,
): readonly Interval[] | undefined {
  if (size === "all") return [interval];
  const windows: Interval[] = [];
  let startMs = interval.startMs;
  while (startMs < interval.endMs) {
    if (windows.length === most) return undefined;
    const endMs = Math.min(nextEdge(startMs, size, timeZone), interval.endMs);
    windows.push({ startMs, endMs });
    startMs = endMs;
  }
  return windows;
}

/** The first window edge after `timeMs`. */
function nextEdge(timeMs: number, size: Exclude<WindowSize, "all">, timeZone: string): number {
  if (size === "quarter_hour") return (Math.floor(timeMs / QUARTER_HOUR_MS) + 1) * QUARTER_HOUR_MS;
  const at = Temporal.Instant.fromEpochMilliseconds(timeMs).toZonedDateTimeISO(timeZone);
  if (size === "hour") {
    const edge = at.round({ smallestUnit: "hour", roundingMode: "floor" }).add({ hours: 1 });
    if (edge.epochMilliseconds > timeMs) return edge.epochMilliseconds;
    // Where clocks went back by half an hour (Lord Howe), an hour after the last one began is now: the next is on the clock.
    return at.add({ milliseconds: 1 }).round({ smallestUnit: "hour", roundingMode: "ceil" }).epochMilliseconds;
  }
  const day = at.startOfDay();
  if (size === "day") return day.add({ days: 1 }).startOfDay().epochMilliseconds;
  return day.with({ day: 1 }).add({ months: 1 }).startOfDay().epochMilliseconds;
}

function between(start: Temporal.ZonedDateTime, end: Temporal.ZonedDateTime): Interval {
  return { startMs: start.epochMilliseconds, endMs: end.startOfDay().epochMilliseconds };
}
