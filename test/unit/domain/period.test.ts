import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { calendarPeriod, cutIntoWindows, isTimeZone } from "../../../src/domain/period.ts";
import { planRead } from "../../../src/domain/read-plan.ts";
import { DAY_MS, type Interval, QUARTER_HOUR_MS, windowAt } from "../../../src/domain/window.ts";
import { seeded } from "../../support/seed.ts";

const at = (text: string) => Date.parse(text);
const iso = ({ startMs, endMs }: Interval) => [new Date(startMs).toISOString(), new Date(endMs).toISOString()];

describe("calendarPeriod", () => {
  test.each([
    ["today", "2026-03-29T10:00:00Z", "Europe/Berlin", "2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z"],
    ["today", "2026-10-25T10:00:00Z", "Europe/Berlin", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"],
    ["today", "2026-06-15T20:00:00Z", "Asia/Kathmandu", "2026-06-15T18:15:00.000Z", "2026-06-16T18:15:00.000Z"],
    ["current_month", "2026-02-28T23:59:59.999Z", "UTC", "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"],
    [
      "current_month",
      "2026-03-01T02:00:00Z",
      "America/New_York",
      "2026-02-01T05:00:00.000Z",
      "2026-03-01T05:00:00.000Z",
    ],
    // Midnight does not exist on this day in Beirut: the day begins at 01:00.
    ["today", "2026-03-29T10:00:00Z", "Asia/Beirut", "2026-03-28T22:00:00.000Z", "2026-03-29T21:00:00.000Z"],
  ] as const)("%s at %s in %s", (period, now, zone, start, end) => {
    expect(iso(calendarPeriod(period, at(now), zone))).toEqual([start, end]);
  });
});

describe("cutIntoWindows", () => {
  test("days of a zone across its clock change, partial at both ends", () => {
    const interval = { startMs: at("2026-03-28T12:00:00Z"), endMs: at("2026-03-30T12:00:00Z") };
    expect(cutIntoWindows(interval, "day", "Europe/Berlin", 10)?.map(iso)).toEqual([
      ["2026-03-28T12:00:00.000Z", "2026-03-28T23:00:00.000Z"],
      ["2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z"],
      ["2026-03-29T22:00:00.000Z", "2026-03-30T12:00:00.000Z"],
    ]);
  });

  test("windows are adjacent, cover the interval, and end on quarter-hours", () => {
    const zones = fc.constantFrom("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns");
    const size = fc.constantFrom("quarter_hour" as const, "hour" as const, "day" as const, "month" as const);
    const start = fc.integer({ min: at("2024-01-01") / QUARTER_HOUR_MS, max: at("2027-01-01") / QUARTER_HOUR_MS });
    fc.assert(
      fc.property(start, fc.integer({ min: 1, max: 400 }), size, zones, (from, length, windowSize, zone) => {
        const interval = { startMs: from * QUARTER_HOUR_MS, endMs: (from + length) * QUARTER_HOUR_MS };
        const windows = cutIntoWindows(interval, windowSize, zone, 500) ?? [];
        expect(windows[0]?.startMs).toBe(interval.startMs);
        expect(windows.at(-1)?.endMs).toBe(interval.endMs);
        windows.forEach((window, i) => {
          expect(window.endMs).toBeGreaterThan(window.startMs);
          expect(window.endMs % QUARTER_HOUR_MS).toBe(0);
          if (i > 0) expect(window.startMs).toBe(windows[i - 1]?.endMs);
        });
      }),
      seeded(300),
    );
  });

  test("where clocks go back by half an hour, the hours go on (found with SEED=1901297492)", () => {
    const startMs = at("2025-04-05T13:00Z");
    const hours = cutIntoWindows({ startMs, endMs: startMs + 4 * 3_600_000 }, "hour", "Australia/Lord_Howe", 10);
    expect(hours?.map(({ startMs: from, endMs: to }) => (to - from) / 60_000)).toEqual([60, 60, 30, 60, 30]);
  });

  test("says so when there would be too many", () => {
    expect(cutIntoWindows({ startMs: 0, endMs: 10 * QUARTER_HOUR_MS }, "quarter_hour", "UTC", 9)).toBeUndefined();
    expect(cutIntoWindows({ startMs: 0, endMs: 10 * QUARTER_HOUR_MS }, "quarter_hour", "UTC", 10)).toHaveLength(10);
  });
});

test.each([
  ["UTC", true],
  ["Europe/Berlin", true],
  ["+01:00", false],
  ["", false],
  ["Mars/Olympus", false],
  ["Europe/Berlin'; --", false],
])("isTimeZone(%j) is %s", (name, expected) => {
  expect(isTimeZone(name)).toBe(expected);
});

test("planRead puts each instant into one part, whole UTC days into day parts", () => {
  const quarter = fc.integer({ min: 0, max: 96 * 6 });
  fc.assert(
    fc.property(fc.uniqueArray(quarter, { minLength: 2, maxLength: 6 }), (edges) => {
      const sorted = edges.sort((a, b) => a - b).map((q) => q * QUARTER_HOUR_MS);
      const windows = sorted.slice(1).map((endMs, i) => ({ startMs: sorted[i] ?? 0, endMs }));
      const { quarterHours, days } = planRead(windows);
      for (const day of days) expect([day.startMs % DAY_MS, day.endMs % DAY_MS]).toEqual([0, 0]);
      for (const part of quarterHours) expect(part.endMs - part.startMs).toBeLessThan(2 * DAY_MS);
      windows.forEach((window, i) => {
        const parts = [...quarterHours, ...days].filter((p) => p.window === i).sort((a, b) => a.startMs - b.startMs);
        expect(parts[0]?.startMs).toBe(window.startMs);
        expect(parts.at(-1)?.endMs).toBe(window.endMs);
        parts.slice(1).forEach((part, j) => {
          expect(part.startMs).toBe(parts[j]?.endMs);
        });
      });
    }),
    seeded(500),
  );
});

test("windowAt holds the instant, spans no boundary, and neighbours agree", () => {
  const time = fc.integer({ min: 0, max: 10 * QUARTER_HOUR_MS });
  fc.assert(
    fc.property(time, fc.array(time, { maxLength: 4 }), (timeMs, unsorted) => {
      const boundaries = unsorted.sort((a, b) => a - b);
      const { startMs, endMs } = windowAt(timeMs, QUARTER_HOUR_MS, boundaries);
      expect(startMs <= timeMs && timeMs < endMs).toBe(true);
      expect(boundaries.some((b) => b > startMs && b < endMs)).toBe(false);
      expect(windowAt(startMs, QUARTER_HOUR_MS, boundaries)).toEqual({ startMs, endMs });
      expect(windowAt(endMs - 1, QUARTER_HOUR_MS, boundaries)).toEqual({ startMs, endMs });
    }),
    seeded(1000),
  );
});
