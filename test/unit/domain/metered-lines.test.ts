import fc from "fast-check";
import { expect, test } from "vitest";
import { linePeriods, type MeteredLine } from "../../../src/domain/metered-lines.ts";
import { seeded } from "../../support/seed.ts";

const line = (fields: Partial<MeteredLine> = {}): MeteredLine => {
  return { subscriptionItem: "si_1", eventName: "tokens", startMs: 0, endMs: 1_000, quantity: 5n, ...fields };
};

test("graduated tiers make a line each: they add up", () => {
  expect(linePeriods([line({ quantity: 1_000n }), line({ quantity: 0n }), line({ quantity: 234n })])).toEqual([
    { eventName: "tokens", startMs: 0, endMs: 1_000, quantity: 1_234n },
  ]);
});

test("several items on one meter bill the same usage each: the greatest stands", () => {
  const lines = [line({ quantity: 60n }), line({ quantity: 40n }), line({ subscriptionItem: "si_2", quantity: 90n })];
  expect(linePeriods(lines)).toMatchObject([{ quantity: 100n }]);
});

test("one period a meter and start, in order; of two that start together the longer", () => {
  const lines = [
    line({ startMs: 1_000, endMs: 2_000 }),
    line({ eventName: "calls", quantity: 7n }),
    line(),
    line({ endMs: 3_000, quantity: 9n, subscriptionItem: "si_2" }),
  ];
  expect(linePeriods(lines)).toEqual([
    { eventName: "calls", startMs: 0, endMs: 1_000, quantity: 7n },
    { eventName: "tokens", startMs: 0, endMs: 3_000, quantity: 9n },
    { eventName: "tokens", startMs: 1_000, endMs: 2_000, quantity: 5n },
  ]);
});

test("a line of no length says nothing, and what one line does not say is not known", () => {
  expect(linePeriods([line({ endMs: 0 })])).toEqual([]);
  expect(linePeriods([line(), line({ quantity: undefined })])).toMatchObject([{ quantity: undefined }]);
  const other = line({ subscriptionItem: "si_2", quantity: undefined });
  expect(linePeriods([line(), other])).toMatchObject([{ quantity: undefined }]);
});

test("the order of lines does not matter", () => {
  const lines = fc.array(
    fc.record({
      subscriptionItem: fc.constantFrom("si_1", "si_2"),
      eventName: fc.constantFrom("a", "b"),
      startMs: fc.constantFrom(0, 1_000),
      endMs: fc.constantFrom(1_000, 2_000),
      quantity: fc.option(fc.bigInt(0n, 100n), { nil: undefined }),
    }),
    { maxLength: 8 },
  );
  const shuffled = lines.chain((some) =>
    fc.tuple(fc.constant(some), fc.shuffledSubarray(some, { minLength: some.length })),
  );
  fc.assert(
    fc.property(shuffled, ([some, again]) => {
      expect(linePeriods(again)).toEqual(linePeriods(some));
    }),
    seeded(300),
  );
});
