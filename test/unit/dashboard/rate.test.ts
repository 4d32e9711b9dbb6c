// Tokens per second: what a gap brought is not taken for one second's.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RATE_SAMPLES_MAX, Rate, SPAN_SAMPLES } from "../../../src/dashboard/rate.ts";
import { seeded } from "../../support/seed.ts";

const rates = (samples: readonly (readonly [number, bigint | undefined])[]) => {
  const rate = new Rate();
  for (const [atMs, total] of samples) rate.add(atMs, total);
  return rate.points.map(({ perSecond }) => perSecond);
};

describe("Rate", () => {
  test("says nothing before there is anything to compare with, then the difference by time", () => {
    expect(
      rates([
        [0, 500n],
        [1_000, 510n],
        [2_000, 530n],
        [4_000, 530n],
      ]),
    ).toEqual([undefined, 10, 15, 7.5]);
  });

  test("is taken over the last samples, not over all", () => {
    const burst = Array.from({ length: SPAN_SAMPLES + 2 }, (_, at) => [at * 1_000, at === 0 ? 0n : 1_000n] as const);
    expect(rates(burst).at(-2)).toBe(1_000 / SPAN_SAMPLES);
    expect(rates(burst).at(-1)).toBe(0);
  });

  test("a gap is a gap in the line, and what it brought is nobody's second", () => {
    expect(
      rates([
        [0, 0n],
        [1_000, 10n],
        [2_000, undefined],
        [3_000, undefined],
        [4_000, 1_000_000n],
        [5_000, 1_000_010n],
      ]),
    ).toEqual([undefined, 10, undefined, undefined, undefined, 10]);
  });

  test("a total that goes down starts anew: no rate is negative", () => {
    expect(
      rates([
        [0, 90n],
        [1_000, 100n],
        [2_000, 3n],
        [3_000, 5n],
      ]),
    ).toEqual([undefined, 10, undefined, 2]);
  });

  test("totals beyond what a double holds exactly still differ by one", () => {
    const total = 9_007_199_254_740_993n;
    expect(
      rates([
        [0, total],
        [1_000, total + 1n],
      ]),
    ).toEqual([undefined, 1]);
  });

  test("a computer that slept, or a clock that went back, makes no rate of nonsense", () => {
    expect(
      rates([
        [0, 0n],
        [3_600_000, 3_600n],
        [3_500_000, 3_600n],
      ]),
    ).toEqual([undefined, 1, expect.closeTo(3_600 / 3_500)]);
    expect(
      rates([
        [5_000, 0n],
        [4_000, 10n],
      ]),
    ).toEqual([undefined, undefined]);
  });

  test("over any course none is negative, above the steepest step, or kept for ever", () => {
    const step = fc.record({
      ms: fc.integer({ min: 1, max: 5_000 }),
      tokens: fc.bigInt(0n, 10n ** 12n),
      gap: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const rate = new Rate();
        let atMs = 0;
        let total = 2n ** 60n;
        let steepest = 0;
        for (const { ms, tokens, gap } of steps) {
          atMs += ms;
          total += tokens;
          rate.add(atMs, gap ? undefined : total);
          if (!gap) steepest = Math.max(steepest, (Number(tokens) * 1_000) / ms);
        }
        expect(rate.points.length).toBeLessThanOrEqual(RATE_SAMPLES_MAX);
        for (const { perSecond } of rate.points)
          if (perSecond !== undefined) {
            expect(perSecond).toBeGreaterThanOrEqual(0);
            expect(perSecond).toBeLessThanOrEqual(steepest * 1.000001);
          }
      }),
      seeded(200),
    );
  });
});
