// Drifts that are left open in the end, and what they excuse.
import { HELD_OUTCOME_UNKNOWN } from "../src/domain/report.ts";
import type { DriftRow, ReportRow } from "./ledger-reading.ts";
import { isWithin, type Span } from "./oracle.ts";

/** A drift that waits for invoices: in a minute that two periods share, it may belong to either, until both are billed. */
export function isForInvoices({ what }: DriftRow): boolean {
  return what.endsWith(" open boundary");
}

/** The same, once both were: what their invoices left out is carried on, and Stripe's sum of that minute stays another. */
export function isInvoiced({ what }: DriftRow): boolean {
  return what.split(" ").includes("invoiced");
}

/** What was sent and never answered, in a minute of such a drift: what the drift expects holds it, and each may be what is lacking. */
export function doubtfulIn(reports: readonly ReportRow[], drifts: readonly DriftRow[]): readonly ReportRow[] {
  const spans = drifts.filter(isForInvoices);
  return reports.filter(
    ({ state, reason, timestampMs }) =>
      state === "held" && reason === HELD_OUTCOME_UNKNOWN && spans.some((span) => isWithin(timestampMs, span)),
  );
}

/** As the drift takes them: counted, and the drift stands for what was not. */
export function asBelieved(reports: readonly ReportRow[], doubtful: readonly ReportRow[]): readonly ReportRow[] {
  return reports.map((report) => (doubtful.includes(report) ? { ...report, state: "accepted", reason: "" } : report));
}

export function differenceOf({ expected, counted }: DriftRow): bigint {
  return BigInt(counted) - BigInt(expected);
}

/**
 * By what Stripe's sum may differ in a span, since drifts are left open. Each may be in it, or not, or in part: then what is lacking
 * of it there are doubtful reports of that side.
 */
export function differencesIn(
  drifts: readonly DriftRow[],
  { startMs, endMs }: Span,
  doubtful: readonly ReportRow[],
): bigint[] {
  const touching = drifts.filter((drift) => isForInvoices(drift) && drift.startMs < endMs && drift.endMs > startMs);
  let sums = [0n];
  for (const drift of touching) {
    const here = doubtful.filter(
      ({ timestampMs }) => isWithin(timestampMs, drift) && isWithin(timestampMs, { startMs, endMs }),
    );
    const parts = new Set([0n, differenceOf(drift), ...subsetSums(here.map(({ value }) => -value))]);
    sums = sums.flatMap((one) => [...parts].map((part) => one + part));
  }
  return sums;
}

function subsetSums(values: readonly bigint[]): bigint[] {
  return values.reduce((sums, value) => sums.concat(sums.map((one) => one + value)), [0n]);
}
