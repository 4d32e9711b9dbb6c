import fc from "fast-check";
import { expect, test } from "vitest";
import { closePeriod, type InvoicedPeriod } from "../../../src/domain/invoiced-period.ts";
import { seeded } from "../../support/seed.ts";

const context = { deploymentId: "test", lateUsage: "current_period", nowMs: 1_800_000_000_999 } as const;
const period: InvoicedPeriod = {
  stripeCustomerId: "cus_1",
  eventName: "tokens",
  startMs: 1_790_000_000_000,
  endMs: 1_792_000_000_000,
  billed: 10n,
  counted: 10n,
  takenBackLate: 0n,
  window: { customerId: "acme", eventName: "tokens", payload: "{}", windowStartMs: 1_791_000_000_000, nextSequence: 4 },
  periodOpen: true,
};

test("an invoice that says what was counted leaves nothing to do", () => {
  expect(closePeriod(period, context)).toEqual({ reports: [], excess: 0n });
});

test("what was counted after the invoice is taken out of the period and carried into the open one", () => {
  const { reports } = closePeriod({ ...period, counted: 17n }, context);
  expect(reports).toMatchObject([
    { kind: "unbilled", value: -7n, timestampMs: period.startMs, sequence: 4, late: false, heldFor: undefined },
    { kind: "carry", value: 7n, timestampMs: 1_800_000_000_000, sequence: 5, late: true, heldFor: undefined },
  ]);
  expect(new Set(reports.map((r) => r.identifier)).size).toBe(2);
});

test("a sum below zero was billed as zero: all of it is carried", () => {
  const { reports, excess } = closePeriod({ ...period, billed: 0n, counted: -5n }, context);
  expect(reports).toMatchObject([
    { kind: "unbilled", value: 5n },
    { kind: "carry", value: -5n },
  ]);
  expect(excess).toBe(0n);
});

test("an invoice that says more than was reported is for a person", () => {
  expect(closePeriod({ ...period, counted: 8n }, context)).toEqual({ reports: [], excess: 2n });
});

test.each([
  [6n, -4n, -4n, 0n],
  [6n, -9n, -4n, 0n],
  [6n, -3n, -3n, 1n],
  [-2n, -4n, -12n, 0n],
] as const)(
  "counted %s, of which %s was taken back after the invoice: %s is carried, %s is for a person",
  (counted, takenBackLate, carried, excess) => {
    const closing = closePeriod({ ...period, counted, takenBackLate }, context);
    expect(closing.reports.map(({ kind, value }) => [kind, value])).toEqual([
      ["unbilled", -carried],
      ["carry", carried],
    ]);
    expect(closing.excess).toBe(excess);
  },
);

test.each([
  ["hold", true, "late"],
  ["hold", false, "late"],
  ["current_period", false, "no_open_period"],
] as const)("under the policy %s, with an open period: %s, it is held as %s", (lateUsage, periodOpen, heldFor) => {
  const { reports } = closePeriod({ ...period, counted: 11n, periodOpen }, { ...context, lateUsage });
  expect(reports.map((r) => [r.kind, r.heldFor])).toEqual([
    ["unbilled", undefined],
    ["carry", heldFor],
  ]);
});

test("after closing, what counts in the period is what was billed, and nothing came or went", () => {
  const amount = fc.bigInt({ min: -(10n ** 17n), max: 10n ** 17n });
  fc.assert(
    fc.property(amount, fc.bigInt({ min: 0n, max: 10n ** 17n }), (counted, invoiced) => {
      const billed = counted < 0n ? 0n : invoiced;
      const { reports, excess } = closePeriod({ ...period, counted, billed }, context);
      const booked = reports.filter((r) => r.kind === "unbilled").reduce((sum, r) => sum + r.value, 0n);
      expect(counted + booked + excess).toBe(billed);
      expect(reports.reduce((sum, r) => sum + r.value, 0n)).toBe(0n);
    }),
    seeded(200),
  );
});
