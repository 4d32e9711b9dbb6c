import fc from "fast-check";
import { expect, test } from "vitest";
import { EVENT_AGE_MAX_MS, HELD_LATE, HELD_NO_OPEN_PERIOD, place } from "../../../src/domain/late-usage.ts";
import { seeded } from "../../support/seed.ts";

const NOW = 1_800_000_000_500;
const RECENT = 1_799_999_940_000;
const OLD = Math.floor((NOW - EVENT_AGE_MAX_MS) / 60_000) * 60_000 + 60_000;
const open = { windowStartMs: RECENT, periodClosed: false, periodOpen: true };

test.each([
  ["usage of an open period keeps its time", open, "current_period", { timestampMs: RECENT, late: false }],
  ["nor does holding late usage concern it", open, "hold", { timestampMs: RECENT, late: false }],
  ["nor an ended subscription", { ...open, periodOpen: false }, "current_period", { timestampMs: RECENT, late: false }],
  [
    "usage of a closed period is billed now",
    { ...open, periodClosed: true },
    "current_period",
    { timestampMs: 1_800_000_000_000, late: true },
  ],
  ["or held", { ...open, periodClosed: true }, "hold", { timestampMs: RECENT, late: false, heldFor: HELD_LATE }],
  [
    "or held, since nothing is billed any more",
    { ...open, periodClosed: true, periodOpen: false },
    "current_period",
    { heldFor: HELD_NO_OPEN_PERIOD },
  ],
  ["what is about to be too old for Stripe is late", { ...open, windowStartMs: OLD }, "current_period", { late: true }],
] as const)("%s", (_, window, policy, placement) => {
  expect(place(window, policy, NOW)).toMatchObject({ heldFor: undefined, ...placement });
});

test("whatever is sent, Stripe takes its time, and it is not in a closed period", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 50 * 86_400_000 }),
      fc.boolean(),
      fc.boolean(),
      fc.integer({ min: 0, max: 999 }),
      (ageMs, periodClosed, periodOpen, ms) => {
        const nowMs = 1_800_000_000_000 + ms;
        const windowStartMs = Math.floor((nowMs - ageMs) / 1000) * 1000;
        const placement = place({ windowStartMs, periodClosed, periodOpen }, "current_period", nowMs);
        if (placement.heldFor !== undefined) return;
        expect(placement.timestampMs % 1000).toBe(0);
        expect(placement.timestampMs).toBeLessThanOrEqual(nowMs);
        expect(nowMs - placement.timestampMs).toBeLessThan(EVENT_AGE_MAX_MS);
        if (periodClosed) expect(placement.late && nowMs - placement.timestampMs < 1000).toBe(true);
      },
    ),
    seeded(300),
  );
});
