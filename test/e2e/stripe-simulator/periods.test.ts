// Where billing periods begin and end.
import { describe, expect, test } from "vitest";
import { nextBoundary, periodBoundary } from "../../../src/stripe-simulator/billing/periods.ts";
import { seconds } from "./harness.ts";

describe("period arithmetic", () => {
  const monthly = { interval: "month", interval_count: 1 } as const;

  test.each([
    ["2026-01-31T10:20:30Z", 1, "2026-02-28T10:20:30Z"],
    ["2026-01-31T10:20:30Z", 2, "2026-03-31T10:20:30Z"],
    ["2028-01-31T10:20:30Z", 1, "2028-02-29T10:20:30Z"],
    ["2026-12-31T23:59:59Z", 2, "2027-02-28T23:59:59Z"],
    ["2026-03-31T00:00:00Z", -1, "2026-02-28T00:00:00Z"],
    ["2026-05-15T01:02:03Z", 12, "2027-05-15T01:02:03Z"],
  ])("%s moved by %i months is %s", (anchor, steps, expected) => {
    expect(periodBoundary(seconds(anchor), monthly, steps)).toBe(seconds(expected));
  });

  test.each([
    ["year", 1, "2028-02-29T12:00:01Z", "2028-02-29T12:00:01Z", "2029-02-28T12:00:01Z"],
    ["year", 1, "2028-02-29T12:00:01Z", "2031-03-01T00:00:00Z", "2032-02-29T12:00:01Z"],
    ["month", 3, "2026-11-30T12:00:01Z", "2026-12-01T00:00:00Z", "2027-02-28T12:00:01Z"],
    ["week", 2, "2026-03-10T12:00:01Z", "2026-03-24T12:00:01Z", "2026-04-07T12:00:01Z"],
    ["day", 1, "2026-03-10T12:00:01Z", "2026-03-10T12:00:00Z", "2026-03-10T12:00:01Z"],
    ["month", 1, "2026-03-31T12:00:01Z", "2025-06-30T12:00:00Z", "2025-06-30T12:00:01Z"],
  ] as const)("every %s x%i from %s, after %s comes %s", (interval, interval_count, anchor, time, expected) => {
    expect(nextBoundary(seconds(anchor), { interval, interval_count }, seconds(time))).toBe(seconds(expected));
  });

  test("a month-end subscription comes back to its day, odd seconds kept, for five years", () => {
    let time = seconds("2026-01-31T10:20:31Z");
    const anchor = time;
    for (let step = 1; step <= 60; step += 1) {
      time = nextBoundary(anchor, monthly, time);
      expect(time).toBe(periodBoundary(anchor, monthly, step));
      const date = new Date(time * 1_000);
      expect(date.toISOString().slice(11)).toBe("10:20:31.000Z");
      const lastDay = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
      expect(date.getUTCDate()).toBe(Math.min(31, lastDay));
    }
  });
});
