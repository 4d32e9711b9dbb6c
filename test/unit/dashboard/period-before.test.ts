// The period before a period, as subscriptions renew.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { periodBefore } from "../../../src/dashboard/period-before.ts";
import { seeded } from "../../support/seed.ts";

const before = (start: string, end: string): string => {
  const span = periodBefore({ startMs: Date.parse(start), endMs: Date.parse(end) });
  expect(span.endMs).toBe(Date.parse(start));
  return new Date(span.startMs).toISOString().replace(".000Z", "Z");
};

describe("periodBefore", () => {
  test.each([
    ["a calendar month", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "2026-10-01T00:00:00Z"],
    ["over a year's end", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2025-12-01T00:00:00Z"],
    [
      "a month of a subscription, on its second",
      "2026-05-17T09:31:07Z",
      "2026-06-17T09:31:07Z",
      "2026-04-17T09:31:07Z",
    ],
    [
      "one that renews on the 31st, after a short month",
      "2026-02-28T10:00:00Z",
      "2026-03-31T10:00:00Z",
      "2026-01-31T10:00:00Z",
    ],
    ["and before one", "2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z", "2026-02-28T10:00:00Z"],
    ["and in between", "2026-04-30T10:00:00Z", "2026-05-31T10:00:00Z", "2026-03-31T10:00:00Z"],
    ["a leap year's", "2028-03-30T00:00:00Z", "2028-04-30T00:00:00Z", "2028-02-29T00:00:00Z"],
    ["a quarter", "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z", "2026-01-01T00:00:00Z"],
    ["a year", "2026-03-05T00:00:00Z", "2027-03-05T00:00:00Z", "2025-03-05T00:00:00Z"],
    ["a week", "2026-11-02T08:00:00Z", "2026-11-09T08:00:00Z", "2026-10-26T08:00:00Z"],
    ["a day", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-02-28T00:00:00Z"],
    ["a short first one, as long as it is", "2026-11-10T00:00:00Z", "2026-12-01T00:00:00Z", "2026-10-20T00:00:00Z"],
  ])("%s", (_, start, end, expected) => {
    expect(before(start, end)).toBe(expected);
  });

  test("whatever day a subscription renews on, each month but the first is found from the one after it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 31 }),
        fc.integer({ min: 0, max: 480 }),
        fc.nat(86_399),
        (day, month, second) => {
          const on = (month: number) => {
            const days = new Date(Date.UTC(2000, month + 1, 0)).getUTCDate();
            return Date.UTC(2000, month, Math.min(day, days)) + second * 1_000;
          };
          const found = periodBefore({ startMs: on(month), endMs: on(month + 1) });
          const isShort = new Date(on(month)).getUTCDate() < day && new Date(on(month + 1)).getUTCDate() < day;
          // Two short months side by side do not say what day it is: 28 February and 28 March are not to be told from the 28th.
          if (!isShort) expect(found).toEqual({ startMs: on(month - 1), endMs: on(month) });
        },
      ),
      seeded(500),
    );
  });
});
