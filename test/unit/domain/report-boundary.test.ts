// P4: no report spans a billing-period boundary, wherever boundaries and usage fall.
import fc from "fast-check";
import { expect, test } from "vitest";
import { type PlanContext, planReports } from "../../../src/domain/report.ts";
import { sumBatch } from "../../../src/domain/rollup.ts";
import { testCatalog } from "../../support/catalog.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";

const START_MS = 1_800_000_000_000;
const MINUTES = 6;
const context: PlanContext = { deploymentId: "test", lateUsage: "current_period", nowMs: START_MS + MINUTES * 60_000 };

/** The period, by number, that an instant is in. */
function periodAt(timeMs: number, boundaries: readonly number[]): number {
  return boundaries.filter((boundary) => boundary <= timeMs).length;
}

test("each report is of one period, and stamped in it; each period's reports add up to its usage", () => {
  const second = fc.integer({ min: 0, max: MINUTES * 60 - 1 });
  const millisecond = fc.integer({ min: 0, max: MINUTES * 60_000 - 1 });
  fc.assert(
    fc.property(
      fc.uniqueArray(second, { maxLength: 5 }),
      fc.array(fc.tuple(millisecond, fc.bigInt({ min: 1n, max: 1000n })), { minLength: 1, maxLength: 30 }),
      (seconds, usage) => {
        const boundaries = seconds.sort((a, b) => a - b).map((s) => START_MS + s * 1000);
        const records = usage.map(([ms, quantity]) =>
          usageRecord({ eventTimeMs: START_MS + ms, measurements: { input_tokens: quantity } }),
        );
        const { pending } = sumBatch(records, testCatalog(), () => boundaries);
        const windows = pending.map((delta) => ({
          ...delta,
          stripeCustomerId: "cus_test",
          total: delta.quantity,
          reported: 0n,
          nextSequence: 0,
          periodClosed: false,
          periodOpen: true,
          finalizesAtMs: undefined,
          held: undefined,
          elsewhere: [],
        }));
        for (const { windowStartMs, windowEndMs } of windows) {
          expect(periodAt(windowStartMs, boundaries)).toBe(periodAt(windowEndMs - 1, boundaries));
        }
        const reported = new Map<number, bigint>();
        for (const { timestampMs, value } of planReports(windows, context)) {
          const period = periodAt(timestampMs, boundaries);
          reported.set(period, (reported.get(period) ?? 0n) + value);
        }
        const used = new Map<number, bigint>();
        for (const record of records) {
          const period = periodAt(record.eventTimeMs, boundaries);
          used.set(period, (used.get(period) ?? 0n) + (record.measurements[0]?.quantity ?? 0n));
        }
        expect([...reported].sort()).toEqual([...used].sort());
      },
    ),
    seeded(300),
  );
});
