// From which rollups an interval is read: whole UTC days from day sums, the rest from quarter-hours, so that a month costs days.
import { DAY_MS, type Interval } from "./window.ts";

/** Parts to be summed, each belonging to one of the windows asked for. */
export interface ReadPlan {
  readonly quarterHours: readonly ReadPart[];
  readonly days: readonly ReadPart[];
}

export interface ReadPart extends Interval {
  /** Index of the window that the part belongs to. */
  readonly window: number;
}

/** Every instant of every window is in exactly one part. Windows start and end on quarter-hours or period boundaries. */
export function planRead(windows: readonly Interval[]): ReadPlan {
  const quarterHours: ReadPart[] = [];
  const days: ReadPart[] = [];
  windows.forEach(({ startMs, endMs }, window) => {
    const firstDayMs = Math.ceil(startMs / DAY_MS) * DAY_MS;
    const lastDayMs = Math.floor(endMs / DAY_MS) * DAY_MS;
    if (firstDayMs >= lastDayMs) {
      quarterHours.push({ window, startMs, endMs });
      return;
    }
    if (startMs < firstDayMs) quarterHours.push({ window, startMs, endMs: firstDayMs });
    days.push({ window, startMs: firstDayMs, endMs: lastDayMs });
    if (lastDayMs < endMs) quarterHours.push({ window, startMs: lastDayMs, endMs });
  });
  return { quarterHours, days };
}
