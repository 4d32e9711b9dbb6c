// What an operator's word changes about drift, and what final invoices do.
import { expect, test } from "vitest";
import { type Apply, decide, freezeRemedy, type SpanView } from "../../../src/domain/reconcile.ts";
import { HELD_WRITTEN_OFF } from "../../../src/domain/report.ts";
import { NOW_MS, report, START_MS, view } from "./reconcile-views.ts";

const DAY_MS = 86_400_000;
const BOUNDARY_MS = START_MS + 30_000;

const wanting = (apply: Apply | undefined) => ({ lagMs: 600_000, repairLimit: 0n, apply });

/** 5 of which Stripe has counted none, at an earlier look. */
const SEEN = { open: { expected: 5n, counted: 0n, foundAtMs: NOW_MS - 700_000 } };

test.each([
  ["too much of somebody else", view(9_000_000n, [report(5n)])],
  ["too little, seen before", view(0n, [report(5n)], SEEN)],
  ["too old to be repaired", view(0n, [report(5n)], { ...SEEN, nowMs: NOW_MS + 40 * DAY_MS })],
  ["counted twice, and still to be cancelled", view(10n, [report(5n, { firstAttemptMs: NOW_MS - 3_600_000 })])],
])("written off, %s is booked, and nothing of it is ever sent by itself", (_, span) => {
  expect(decide(span, wanting(undefined)).kind).toBe("open");
  const verdict = decide(span, wanting("write_off"));
  if (verdict.kind !== "repair") return expect.fail(verdict.kind);
  const { booking, repair } = freezeRemedy("test", span, verdict.remedy, 1);
  expect(booking).toMatchObject({ kind: "drift", heldFor: undefined });
  expect(repair).toMatchObject({ kind: "repair", origin: undefined, heldFor: HELD_WRITTEN_OFF });
  expect(repair.value).toBe(-booking.value);
});

test("what may only be late at Stripe is not written off: it would not be billed when it comes", () => {
  const unconfirmed = { kind: "open", hindrance: "unconfirmed" };
  expect(decide(view(0n, [report(5n)]), wanting("write_off"))).toMatchObject(unconfirmed);
  const moved = { ...SEEN, open: { ...SEEN.open, counted: 2n } };
  expect(decide(view(0n, [report(5n)], moved), wanting("write_off"))).toMatchObject(unconfirmed);
  const lately = { ...SEEN, open: { ...SEEN.open, foundAtMs: NOW_MS - 500_000 } };
  expect(decide(view(0n, [report(5n)], lately), wanting("write_off"))).toMatchObject(unconfirmed);
});

test("too large for one booking, it is not written off", () => {
  expect(decide(view(10n ** 16n, []), wanting("write_off"))).toMatchObject({ kind: "open", hindrance: "too_large" });
});

const [BEFORE, AFTER] = [
  { startMs: START_MS - 30 * DAY_MS, endMs: BOUNDARY_MS, comparable: true },
  { startMs: BOUNDARY_MS, endMs: BOUNDARY_MS + 30 * DAY_MS, comparable: true },
];
/** Its invoice does not say how much it bills. */
const UNTOLD = { ...AFTER, comparable: false };
/** 5 on either side of a boundary, of which Stripe lacks one. */
const SHARED = view(5n, [report(5n), report(5n, { windowStartMs: BOUNDARY_MS, timestampMs: BOUNDARY_MS })], {
  boundariesMs: [BOUNDARY_MS],
});
const LATER_MS = NOW_MS + 40 * DAY_MS;
const draftOf = (period: typeof AFTER) => ({ ...period, finalizesAtMs: NOW_MS + 3_600_000 });

test.each<[string, Partial<SpanView>, string]>([
  ["neither is billed", {}, "open"],
  ["the earlier is billed", { finals: [BEFORE] }, "open"],
  ["the later is a draft", { finals: [BEFORE], drafts: [draftOf(AFTER)] }, "open"],
  ["both are billed", { finals: [BEFORE, AFTER] }, "invoiced"],
  ["the earlier is billed, and the later is no period after all", { finals: [BEFORE], nowMs: LATER_MS }, "invoiced"],
  ["the later is billed by an invoice that tells nothing", { finals: [BEFORE, UNTOLD] }, "open"],
  ["nor does it once it is old", { finals: [BEFORE, UNTOLD], nowMs: LATER_MS }, "open"],
  ["the later is a draft still", { finals: [BEFORE], drafts: [draftOf(AFTER)], nowMs: LATER_MS }, "open"],
])("in a minute that two periods share, where %s", (_, fields, kind) => {
  for (const apply of [undefined, "repair", "write_off"] as const) {
    const verdict = decide({ ...SHARED, ...fields }, wanting(apply));
    expect(verdict.kind).toBe(kind);
    // Then their periods can be closed: by what is believed of each.
    if (kind === "invoiced") expect(verdict).toMatchObject({ reconciled: SHARED.reports.map((r) => r.identifier) });
    else expect(verdict).toMatchObject({ hindrance: "boundary", reconciled: [] });
  }
});
