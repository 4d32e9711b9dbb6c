// What must hold of reconciliation whatever was sent, and whatever Stripe counted of it.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { SpanReport } from "../../../src/domain/explain-drift.ts";
import { decide, freezeRemedy, type SpanView, type Verdict } from "../../../src/domain/reconcile.ts";
import { HELD_OUTCOME_UNKNOWN, RESEND_HORIZON_MS } from "../../../src/domain/report.ts";
import { seeded } from "../../support/seed.ts";
import { APPLY, AUTOMATIC, HOUR_MS, LAG_MS, NOW_MS, report, takeTwo, unknown, view } from "./reconcile-views.ts";

/** One report, and how often Stripe counted it. */
interface Fact {
  report: SpanReport;
  counts: number;
}

const fact: fc.Arbitrary<Fact> = fc
  .record({
    value: fc.bigInt({ min: -6n, max: 20n }).filter((value) => value !== 0n),
    fate: fc.constantFrom("accepted", "sent", "unknown", "refused", "planned"),
    counts: fc.constantFrom(0, 1, 1, 1, 2),
    hoursAgo: fc.integer({ min: 1, max: 30 }),
  })
  .map(({ value, fate, counts, hoursAgo }) => {
    const firstAttemptMs = NOW_MS - hoursAgo * HOUR_MS;
    if (fate === "unknown") return { report: unknown(value), counts };
    if (fate === "refused")
      return { report: report(value, { state: "held", reason: "other", firstAttemptMs }), counts };
    if (fate === "planned") {
      return {
        report: report(value, { state: "planned", firstAttemptMs: undefined, settledMs: undefined }),
        counts: 0,
      };
    }
    return { report: report(value, { state: fate, firstAttemptMs }), counts };
  });

/** Does what was decided, at a Stripe that now does as it should. */
function carryOut(verdict: Verdict, facts: Fact[], seen: SpanView): void {
  const one = (identifier: string | undefined) => {
    const found = facts.find((f) => f.report.identifier === identifier);
    return found ?? expect.fail(`no report ${identifier}`);
  };
  if (verdict.kind === "resend") {
    for (const identifier of verdict.resend) one(identifier).counts ||= 1;
    return;
  }
  if (verdict.kind !== "agree" && verdict.kind !== "repair") return;
  for (const identifier of verdict.accept) {
    const accepted = one(identifier);
    accepted.report = { ...accepted.report, state: "accepted" };
  }
  if (verdict.kind === "agree") return;
  const { booking, repair } = freezeRemedy("test", seen, verdict.remedy, takeTwo());
  const settled = {
    state: "accepted",
    reason: "",
    firstAttemptMs: NOW_MS - HOUR_MS,
    settledMs: NOW_MS - HOUR_MS,
  } as const;
  facts.push({ report: { ...booking, ...settled }, counts: 0 });
  facts.push({ report: { ...repair, ...settled }, counts: 1 });
}

test("whatever Stripe made of it: one repair at most, and then Stripe counts what it should", () => {
  fc.assert(
    fc.property(
      fc.array(fact, { maxLength: 8 }),
      fc.constantFrom<bigint>(0n, 0n, 0n, 4n, -3n),
      (arbitrary, foreign) => {
        const facts = arbitrary.map((f) => ({ ...f }));
        const counted = () => facts.reduce((sum, f) => sum + f.report.value * BigInt(f.counts), foreign);
        const isWanted = ({ report: { state, reason } }: Fact) =>
          state === "accepted" || state === "sent" || reason === HELD_OUTCOME_UNKNOWN;
        const wanted = facts.filter(isWanted).map((f) => f.report.identifier);
        let verdict: Verdict = { kind: "wait" };
        const path: string[] = [];
        do {
          const seen = view(
            counted(),
            facts.map((f) => f.report),
          );
          verdict = decide(seen, APPLY);
          path.push(verdict.kind);
          if (verdict.kind === "resend") {
            for (const identifier of verdict.resend) {
              const first = facts.find((f) => f.report.identifier === identifier)?.report.firstAttemptMs ?? 0;
              expect(NOW_MS - first).toBeLessThan(RESEND_HORIZON_MS);
            }
          }
          if (verdict.kind === "agree")
            wanted.push(...verdict.accept.filter((identifier) => !wanted.includes(identifier)));
          carryOut(verdict, facts, seen);
          // What was sent again is there now, and is no longer young enough for another round.
          if (verdict.kind === "resend")
            for (const f of facts) if (f.report.state === "sent") f.report = { ...f.report, firstAttemptMs: 0 };
        } while (verdict.kind !== "agree" && path.length < 6);
        expect(path.filter((kind) => kind === "repair").length).toBeLessThanOrEqual(1);
        expect(path.at(-1)).toBe("agree");
        const believed = facts
          .filter((f) => f.report.state === "accepted")
          .reduce((sum, f) => sum + f.report.value, 0n);
        expect(believed).toBe(counted());
        const total = facts
          .filter((f) => wanted.includes(f.report.identifier))
          .reduce((sum, f) => sum + f.report.value, 0n);
        expect(counted()).toBe(total);
      },
    ),
    seeded(3_000),
  );
});

test("without --apply, nothing foreign and nothing beyond the limit is ever made up for", () => {
  fc.assert(
    fc.property(
      fc.array(fact, { maxLength: 6 }),
      fc.bigInt({ min: -40n, max: 60n }),
      fc.bigInt({ min: 0n, max: 10n }),
      (facts, counted, repairLimit) => {
        const policy = { ...AUTOMATIC, repairLimit };
        const first = view(
          counted,
          facts.map((f) => f.report),
        );
        const found = decide(first, policy);
        expect(found.kind).not.toBe("repair");
        if (found.kind !== "open") return;
        const open = { ...found.drift, foundAtMs: first.readAtMs - LAG_MS };
        const second = decide({ ...first, open }, policy);
        if (second.kind !== "repair") return;
        const { difference } = second.remedy;
        expect(difference < 0n ? -difference : difference).toBeLessThanOrEqual(repairLimit);
        expect(second.drift.explanation).not.toBe("foreign");
      },
    ),
    seeded(3_000),
  );
});
