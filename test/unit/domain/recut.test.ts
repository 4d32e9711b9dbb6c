import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { divideTotal, splitWindows } from "../../../src/domain/recut.ts";
import { MINUTE_MS, QUARTER_HOUR_MS, windowAt } from "../../../src/domain/window.ts";
import { seeded } from "../../support/seed.ts";

describe("splitWindows", () => {
  test("a boundary on a window's edge splits nothing", () => {
    expect(splitWindows([0, MINUTE_MS, QUARTER_HOUR_MS], MINUTE_MS, [])).toEqual([]);
    expect(splitWindows([0, QUARTER_HOUR_MS], QUARTER_HOUR_MS, [])).toEqual([]);
  });
  test("several boundaries in one window, one of them known", () => {
    expect(splitWindows([10_000, 50_000], MINUTE_MS, [30_000])).toEqual([
      {
        startMs: 0,
        endMs: 30_000,
        pieces: [
          { startMs: 0, endMs: 10_000 },
          { startMs: 10_000, endMs: 30_000 },
        ],
      },
      {
        startMs: 30_000,
        endMs: 60_000,
        pieces: [
          { startMs: 30_000, endMs: 50_000 },
          { startMs: 50_000, endMs: 60_000 },
        ],
      },
    ]);
    expect(splitWindows([10_000, 50_000], MINUTE_MS, [])[0]?.pieces).toHaveLength(3);
  });
  test("pieces are the windows that an apply will cut, and fill the window", () => {
    const times = fc.uniqueArray(
      fc.integer({ min: -2_000, max: 2_000 }).map((s) => s * 1000),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(times, fc.nat(12), (all, n) => {
        const ascending = (list: number[]) => list.toSorted((a, b) => a - b);
        const [known, added] = [ascending(all.slice(0, n)), ascending(all.slice(n))];
        for (const window of splitWindows(added, MINUTE_MS, known)) {
          expect(window.pieces.length).toBeGreaterThan(1);
          let atMs = window.startMs;
          for (const piece of window.pieces) {
            expect(piece).toEqual(windowAt(atMs, MINUTE_MS, ascending(all)));
            atMs = piece.endMs;
          }
          expect(atMs).toBe(window.endMs);
        }
      }),
      seeded(300),
    );
  });
});

describe("divideTotal", () => {
  test.each([
    [10n, [4n, 6n], [4n, 6n]],
    [10n, [8n, 12n], [4n, 6n]],
    [10n, [1n, 1n, 1n], [3n, 3n, 4n]],
    [10n, [0n, 0n], [10n, 0n]],
    [10n, [0n, 5n], [0n, 10n]],
    [0n, [3n, 4n], [0n, 0n]],
    [-10n, [1n, 1n], [-5n, -5n]],
  ])("%s by %s", (total, shares, parts) => {
    expect(divideTotal(total, shares)).toEqual(parts);
  });
  test("the parts add up, none is below zero, and exact shares come back", () => {
    const shares = fc.array(fc.bigInt({ min: 0n, max: 10n ** 18n }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(shares, fc.bigInt({ min: 0n, max: 10n ** 18n }), (list, total) => {
        const sum = (values: readonly bigint[]) => values.reduce((a, b) => a + b, 0n);
        const parts = divideTotal(total, list);
        expect(sum(parts)).toBe(total);
        expect(parts.every((part) => part >= 0n)).toBe(true);
        expect(divideTotal(sum(list), list)).toEqual(list);
      }),
      seeded(300),
    );
  });
});
