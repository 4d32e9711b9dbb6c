// Drifts that are left open in the end, and what they excuse.
import { HELD_OUTCOME_UNKNOWN } from "../src/domain/report.ts";
import type { DriftRow, ReportRow } from "./ledger-reading.ts";
import { isWithin, type Span } from "./oracle.ts";

/** A drift that nobody but a person can settle: in a minute that two periods share, it may belong to either. */
export function isForAPerson({ what }: DriftRow): boolean {
  return what.endsWith(" open boundary");
}

/** What such a drift expects holds what was sent and never answered: there it stands for counted, and the drift for what was not. */
export function asBelieved(reports: readonly ReportRow[], drifts: readonly DriftRow[]): readonly ReportRow[] {
  const spans = drifts.filter(isForAPerson);
  return reports.map((report) => {
    const isDoubtful = report.state === "held" && report.reason === HELD_OUTCOME_UNKNOWN;
    const isExpected = isDoubtful && spans.some((span) => isWithin(report.timestampMs, span));
    return isExpected ? { ...report, state: "accepted", reason: "" } : report;
  });
}

export function differenceOf({ expected, counted }: DriftRow): bigint {
  return BigInt(counted) - BigInt(expected);
}

/** By what Stripe's sum may differ in a span, since drifts are left to a person: each may be in it or not. */
export function differencesIn(drifts: readonly DriftRow[], { startMs, endMs }: Span): bigint[] {
  const touching = drifts.filter((drift) => isForAPerson(drift) && drift.startMs < endMs && drift.endMs > startMs);
  let sums = [0n];
  for (const drift of touching) sums = sums.concat(sums.map((one) => one + differenceOf(drift)));
  return sums;
}
