import fc from "fast-check";
import { expect, test } from "vitest";
import { type PendingWindow, planReports } from "../../../src/domain/report.ts";
import { sharesOf } from "../../../src/domain/taking-back.ts";
import { seeded } from "../../support/seed.ts";

const NOW_MS = 1_800_000_000_000;
const START_MS = NOW_MS - 3_600_000;
const OPEN = { periodClosed: false, periodOpen: true, finalizesAtMs: undefined };
const WINDOW: PendingWindow = {
  ...OPEN,
  customerId: "acme",
  stripeCustomerId: "cus_new",
  eventName: "tokens",
  payload: "{}",
  windowStartMs: START_MS,
  windowEndMs: START_MS + 60_000,
  total: 0n,
  reported: 0n,
  nextSequence: 2,
  held: undefined,
  elsewhere: [],
};
const before = (stripeCustomerId: string, quantity: bigint) => ({ ...OPEN, stripeCustomerId, quantity });
const shown = (window: PendingWindow, delta: bigint) =>
  sharesOf(window, delta).map(({ payer, quantity }) => [payer.stripeCustomerId, quantity]);

test("what was reported before the customer was mapped anew is taken back from whom it was reported to", () => {
  const window = { ...WINDOW, reported: 10n, elsewhere: [before("cus_old", 10n)] };
  expect(shown(window, -4n)).toEqual([["cus_old", -4n]]);
  expect(shown({ ...window, reported: 13n }, -4n)).toEqual([
    ["cus_new", -3n],
    ["cus_old", -1n],
  ]);
  expect(shown({ ...window, reported: 13n, elsewhere: [before("cus_old", 6n), before("cus_older", 7n)] }, -8n)).toEqual(
    [
      ["cus_old", -6n],
      ["cus_older", -2n],
    ],
  );
});

test("what comes in addition goes to the one that is mapped now", () => {
  expect(shown({ ...WINDOW, elsewhere: [before("cus_old", 10n)] }, 4n)).toEqual([["cus_new", 4n]]);
});

test("each is taken back in the period of its own", () => {
  const old = { ...before("cus_old", 10n), periodClosed: true };
  const window = { ...WINDOW, total: 0n, reported: 13n, finalizesAtMs: NOW_MS + 1, elsewhere: [old] };
  expect(planReports([window], { deploymentId: "d", lateUsage: "current_period", nowMs: NOW_MS })).toMatchObject([
    {
      stripeCustomerId: "cus_new",
      value: -3n,
      sequence: 2,
      late: false,
      timestampMs: START_MS,
      finalizesAtMs: NOW_MS + 1,
    },
    {
      stripeCustomerId: "cus_old",
      value: -10n,
      sequence: 3,
      late: true,
      timestampMs: NOW_MS,
      finalizesAtMs: undefined,
    },
  ]);
});

test("whatever is taken back: it adds up, and nobody is credited what another was billed", () => {
  const amount = fc.bigInt({ min: 1n, max: 50n });
  fc.assert(
    fc.property(fc.array(amount, { maxLength: 3 }), amount, amount, (others, here, wanted) => {
      const elsewhere = others.map((quantity, i) => before(`cus_${i}`, quantity));
      const reported = others.reduce((a, b) => a + b, here);
      const delta = wanted > reported ? -reported : -wanted;
      const shares = sharesOf({ ...WINDOW, reported, elsewhere }, delta);
      expect(shares.reduce((sum, { quantity }) => sum + quantity, 0n)).toBe(delta);
      const billed = new Map([
        ["cus_new", here],
        ...elsewhere.map((one) => [one.stripeCustomerId, one.quantity] as const),
      ]);
      for (const { payer, quantity } of shares)
        expect(-quantity).toBeLessThanOrEqual(billed.get(payer.stripeCustomerId) ?? 0n);
    }),
    seeded(300),
  );
});
