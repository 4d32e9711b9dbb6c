// What a stream compares to know what to send.
import type { Interval } from "../domain/window.ts";
import type { UsageTotal } from "./usage-request.ts";

/** Those that differ; one that is gone, since all its records were voided, as 0. */
export function changedTotals(before: readonly UsageTotal[], after: readonly UsageTotal[]): readonly UsageTotal[] {
  const known = new Map(before.map((total) => [totalKey(total), total]));
  const changed = after.filter((total) => {
    const key = totalKey(total);
    const old = known.get(key);
    known.delete(key);
    return old === undefined || old.quantity !== total.quantity || old.recordCount !== total.recordCount;
  });
  const gone = [...known.values()].filter((total) => total.recordCount !== 0n);
  return [...changed, ...gone.map((total) => ({ ...total, quantity: 0n, recordCount: 0n }))];
}

function totalKey(total: UsageTotal): string {
  return JSON.stringify([total.customerId, total.meter, total.apiKeyId, total.model, total.labels]);
}

export function sameInterval(a: Interval, b: Interval): boolean {
  return a.startMs === b.startMs && a.endMs === b.endMs;
}
