// Why Stripe counted something else than is believed, as far as the reports of the span tell. Pure.
import { HELD_OUTCOME_UNKNOWN, type Report, type ReportState } from "./report.ts";

/** A report whose event time lies in the span. */
export interface SpanReport extends Report {
  readonly state: ReportState;
  /** Why it is held; empty else. */
  readonly reason: string;
  /** First send that may have been processed. */
  readonly firstAttemptMs: number | undefined;
  /** When it was accepted, taken by the stream, or held. */
  readonly settledMs: number | undefined;
}

/** Stripe's word that it threw away events that it had taken. */
export interface ValidationError {
  readonly code: string;
  /** Of receipt at Stripe. */
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * never_sent: Stripe lacks what was accepted. unknown: sends of unknown fate were not counted. refused: the same, and an error report covers
 * the sends. counted_twice: the excess equals reports of ours. foreign: nothing of ours explains it.
 */
export type DriftExplanation = "never_sent" | "unknown" | "refused" | "counted_twice" | "foreign";

export interface Explained {
  readonly explanation: DriftExplanation;
  /** Stripe's code, of what was refused. */
  readonly code: string | undefined;
  /** The reports that the difference is about, as far as can be told; empty where foreign. Youngest first. */
  readonly about: readonly SpanReport[];
  /** All that it may be about: more than `about` where several reports, or sets of them, would explain the same difference. */
  readonly suspects: readonly SpanReport[];
}

/** How far a send's time at Stripe may be from ours: clocks differ, and validation comes a little after the receipt. */
const CLOCK_SLACK_MS = 60_000;

/** Believed to be counted by Stripe. Bookings of what an invoice left out are no word about Stripe's sum. */
export function isTaken({ kind, state }: SpanReport): boolean {
  return kind !== "unbilled" && (state === "accepted" || state === "sent");
}

/** Held since nobody knows its fate and it may not be sent again: the summaries tell. */
export function isDoubtful({ state, reason }: SpanReport): boolean {
  return state === "held" && reason === HELD_OUTCOME_UNKNOWN;
}

/** Whether it stands for an event, or the cancelling of one. */
export function isSendable({ kind }: SpanReport): boolean {
  return kind !== "drift" && kind !== "unbilled";
}

/** Explains `difference`, what Stripe counted beyond what is expected; not 0. */
export function explain(
  reports: readonly SpanReport[],
  errors: readonly ValidationError[],
  difference: bigint,
): Explained {
  const taken = youngestFirst(reports.filter((report) => isTaken(report) && isSendable(report)));
  const doubtful = youngestFirst(reports.filter(isDoubtful));
  const notCounted = reportsOfSum(doubtful, -difference);
  if (notCounted !== undefined) {
    return { explanation: "unknown", code: undefined, about: notCounted, suspects: suspectsOf(doubtful, -difference) };
  }
  if (doubtful.length > 0 && difference < 0n) {
    return {
      explanation: "unknown",
      code: undefined,
      about: doubtful,
      suspects: suspectsOf([...doubtful, ...taken], -difference),
    };
  }
  if (difference < 0n && taken.length > 0) return lacking(taken, suspectsOf(taken, -difference), errors);
  // A report that takes back something adds to the sum when it is missing.
  const negative = taken.filter(({ value }) => value < 0n);
  const takingBack = reportsOfSum(negative, -difference);
  if (takingBack !== undefined) return lacking(takingBack, suspectsOf(negative, -difference), errors);
  const twice = reportsOfSum(taken, difference);
  if (twice !== undefined) {
    return { explanation: "counted_twice", code: undefined, about: twice, suspects: suspectsOf(taken, difference) };
  }
  // Some that take back and others that do not are missing together.
  const mixed = negative.length > 0 ? reportsOfSum(taken, -difference) : undefined;
  if (mixed !== undefined) return lacking(mixed, suspectsOf(taken, -difference), errors);
  return { explanation: "foreign", code: undefined, about: [], suspects: [] };
}

function lacking(
  about: readonly SpanReport[],
  suspects: readonly SpanReport[],
  errors: readonly ValidationError[],
): Explained {
  const error = errors.find((one) => about.some((report) => covers(one, report)));
  return { explanation: error === undefined ? "never_sent" : "refused", code: error?.code, about, suspects };
}

function covers({ startMs, endMs }: ValidationError, { firstAttemptMs, settledMs }: SpanReport): boolean {
  if (firstAttemptMs === undefined) return false;
  return startMs - CLOCK_SLACK_MS <= (settledMs ?? firstAttemptMs) && firstAttemptMs <= endMs + CLOCK_SLACK_MS;
}

/** More reports than these are not searched for every combination: some combination of many numbers makes any sum. */
const COMBINED_MAX = 10;

/** The fewest reports whose values add up to `sum`, earlier ones first; undefined where none do. Of many reports, one alone or all of them. */
export function reportsOfSum(reports: readonly SpanReport[], sum: bigint): readonly SpanReport[] | undefined {
  const one = reports.find(({ value }) => value === sum);
  if (one !== undefined) return [one];
  if (reports.length > COMBINED_MAX) return sumOf(reports) === sum ? reports : undefined;
  let fewest: readonly SpanReport[] | undefined;
  for (const some of combinationsOf(reports)) {
    if (sumOf(some) === sum && (fewest === undefined || some.length < fewest.length)) fewest = some;
  }
  return fewest;
}

/** Every report that is in some combination whose values add up to `sum`; all where none do, or where there are too many to try. */
function suspectsOf(reports: readonly SpanReport[], sum: bigint): readonly SpanReport[] {
  if (reports.length > COMBINED_MAX) return reports;
  const suspects = new Set<SpanReport>();
  for (const some of combinationsOf(reports)) if (sumOf(some) === sum) for (const report of some) suspects.add(report);
  return suspects.size === 0 ? reports : reports.filter((report) => suspects.has(report));
}

function* combinationsOf(reports: readonly SpanReport[]): Generator<readonly SpanReport[]> {
  for (let chosen = 1; chosen < 2 ** reports.length; chosen++) {
    yield reports.filter((_, i) => (chosen & (1 << i)) !== 0);
  }
}

export function sumOf(reports: readonly SpanReport[]): bigint {
  return reports.reduce((sum, { value }) => sum + value, 0n);
}

function youngestFirst(reports: readonly SpanReport[]): SpanReport[] {
  return reports.toSorted((a, b) => (b.firstAttemptMs ?? 0) - (a.firstAttemptMs ?? 0));
}
