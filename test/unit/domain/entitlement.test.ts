import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FailedInvoice, type KnownSubscription, readEntitlement } from "../../../src/domain/entitlement.ts";
import { seeded } from "../../support/seed.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 23, 12);
const GRACE = 72 * HOUR;
const thisMonth = { startMs: NOW - 22 * 24 * HOUR, endMs: NOW + 8 * 24 * HOUR };
const lastMonth = { startMs: thisMonth.startMs - 31 * 24 * HOUR, endMs: thisMonth.startMs };

function subscription(status: string, subscriptionId = "sub_1", currentPeriod = thisMonth): KnownSubscription {
  return { subscriptionId, status, currentPeriod };
}
function failed(agoMs: number, subscriptionId = "sub_1"): FailedInvoice {
  return { subscriptionId, paymentFailedMs: NOW - agoMs };
}

test("no subscription known: entitled, metering may start before billing", () => {
  expect(readEntitlement([], [], NOW, GRACE)).toEqual({
    subscriptionStatus: "",
    entitled: true,
    billingPeriod: undefined,
  });
});

describe.each([
  ["active", true, thisMonth],
  ["trialing", true, thisMonth],
  ["past_due", true, thisMonth],
  ["unpaid", false, thisMonth],
  ["paused", false, thisMonth],
  ["incomplete", false, undefined],
  ["incomplete_expired", false, undefined],
  ["canceled", false, undefined],
  ["a_status_of_tomorrow", false, undefined],
] as const)("%s", (status, entitled, billingPeriod) => {
  test("alone", () => {
    expect(readEntitlement([subscription(status)], [], NOW, GRACE)).toEqual({
      subscriptionStatus: status,
      entitled,
      billingPeriod,
    });
  });
});

describe("past due", () => {
  const entitled = (invoices: readonly FailedInvoice[], graceMs = GRACE) =>
    readEntitlement([subscription("past_due")], invoices, NOW, graceMs).entitled;

  test("until the grace after the earliest failure ends, to the millisecond", () => {
    expect(entitled([failed(GRACE - 1)])).toBe(true);
    expect(entitled([failed(GRACE)])).toBe(false);
    expect(entitled([failed(HOUR), failed(GRACE)])).toBe(false);
  });
  test("no grace at all", () => {
    expect(entitled([failed(0)], 0)).toBe(false);
    expect(entitled([], 0)).toBe(true);
  });
  test("failures of another subscription do not count", () => {
    expect(entitled([failed(2 * GRACE, "sub_2")])).toBe(true);
  });
  test("failures do not count against an active subscription", () => {
    expect(readEntitlement([subscription("active")], [failed(2 * GRACE)], NOW, GRACE).entitled).toBe(true);
  });
});

describe("several subscriptions", () => {
  test("one that entitles wins over any that does not", () => {
    const answer = readEntitlement(
      [subscription("canceled", "sub_3"), subscription("past_due", "sub_2"), subscription("unpaid", "sub_1")],
      [],
      NOW,
      GRACE,
    );
    expect(answer).toMatchObject({ subscriptionStatus: "past_due", entitled: true });
  });
  test("past due beyond its grace loses to a trial", () => {
    const answer = readEntitlement(
      [subscription("past_due", "sub_1"), subscription("trialing", "sub_2")],
      [failed(2 * GRACE)],
      NOW,
      GRACE,
    );
    expect(answer).toMatchObject({ subscriptionStatus: "trialing", entitled: true });
  });
  test("the period is one that holds now, even where the better status has an older one", () => {
    const answer = readEntitlement(
      [subscription("active", "sub_1", lastMonth), subscription("past_due", "sub_2", thisMonth)],
      [],
      NOW,
      GRACE,
    );
    expect(answer).toEqual({ subscriptionStatus: "active", entitled: true, billingPeriod: thisMonth });
  });
  test("where none holds now, the latest of the best", () => {
    const older = { startMs: lastMonth.startMs - 31 * 24 * HOUR, endMs: lastMonth.startMs };
    const answer = readEntitlement(
      [subscription("active", "sub_1", lastMonth), subscription("active", "sub_2", older)],
      [],
      NOW,
      GRACE,
    );
    expect(answer.billingPeriod).toEqual(lastMonth);
  });
  test("the order in which they are given says nothing", () => {
    const status = fc.constantFrom("active", "trialing", "past_due", "unpaid", "paused", "incomplete", "canceled");
    const period = fc.constantFrom(undefined, thisMonth, lastMonth);
    const id = fc.constantFrom("sub_1", "sub_2", "sub_3", "sub_4");
    const known = fc.uniqueArray(fc.record({ subscriptionId: id, status, currentPeriod: period }), {
      selector: (s) => s.subscriptionId,
    });
    const invoices = fc.array(
      fc.record({ subscriptionId: id, paymentFailedMs: fc.integer({ min: NOW - 2 * GRACE, max: NOW }) }),
    );
    const shuffled = known.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
    );
    fc.assert(
      fc.property(shuffled, invoices, ([list, other], failures) => {
        const answer = readEntitlement(list, failures, NOW, GRACE);
        expect(readEntitlement(other, failures.toReversed(), NOW, GRACE)).toEqual(answer);
      }),
      seeded(300),
    );
  });
});
