// Reconciliation: what Stripe counted over a span of event time, against what is believed, and what follows from it. Pure.
//
// Double entry: a difference is booked as a report of kind "drift", so that what is believed equals what Stripe counted, and made up for by
// one report more. Both are written together, so no difference is ever made up for twice.
import {
  type DriftExplanation,
  type Explained,
  explain,
  isDoubtful,
  isSendable,
  isTaken,
  reportsOfSum,
  type SpanReport,
  sumOf,
  type ValidationError,
} from "./explain-drift.ts";
import { FINALIZATION_MARGIN_MS } from "./late-usage.ts";
import {
  HELD_WRITTEN_OFF,
  identifierOf,
  maySend,
  type PendingWindow,
  type PlannedReport,
  VALUE_MAX,
} from "./report.ts";
import { type Interval, MINUTE_MS } from "./window.ts";

/** A span of one Stripe customer and meter, on whole minutes, as it is known in one transaction. */
export interface SpanView extends Interval {
  readonly stripeCustomerId: string;
  readonly eventName: string;
  /** Whose windows take what has no report of ours. */
  readonly customerId: string;
  /** Stripe's sum. */
  readonly counted: bigint;
  /** On the database's clock, before Stripe was asked. */
  readonly readAtMs: number;
  readonly nowMs: number;
  /** All of the span, whatever their state. */
  readonly reports: readonly SpanReport[];
  /** Billing-period boundaries inside the span: not those at its ends. */
  readonly boundariesMs: readonly number[];
  /** Those that may be about sends of these reports. */
  readonly errors: readonly ValidationError[];
  /** Billing periods that a draft invoice is for, and when each is final. */
  readonly drafts: readonly (Interval & { readonly finalizesAtMs: number })[];
  /** Billing periods whose invoice is final: what is cancelled there changes no invoice any more. */
  readonly finals: readonly FinalPeriod[];
  /** The open drift of this very span. */
  readonly open: SeenDrift | undefined;
}

export interface FinalPeriod extends Interval {
  /** Whether closing it tells what its invoice left out: the invoice says how much it bills, and no other bills the period too. */
  readonly comparable: boolean;
}

/** A drift as it was seen at earlier looks. */
export interface SeenDrift {
  readonly expected: bigint;
  readonly counted: bigint;
  /** Since when every look found these numbers. */
  readonly foundAtMs: number;
}

export interface ReconcilePolicy {
  /** How long Stripe is given to add up what it took; also between the look that finds a drift and the one that repairs it. */
  readonly lagMs: number;
  /** Largest difference of a span, either way, that is repaired without being told to. */
  readonly repairLimit: bigint;
  readonly apply: Apply | undefined;
}

/**
 * What an operator wants done about drift, above the limit, foreign. repair: it is made up for where that is possible, at the first look.
 * write_off: it is booked, and what would make up for it is held and written off, however old it is; what may only be late at Stripe is not.
 */
export type Apply = "repair" | "write_off";

export interface Drift {
  readonly explanation: DriftExplanation;
  /** What Stripe should have counted: what is believed, sends of unknown fate included. */
  readonly expected: bigint;
  readonly counted: bigint;
}

/** Why a drift is left as it is. */
export type Hindrance = "foreign" | "boundary" | "too_old" | "too_large" | "limit" | "unconfirmed";

/** What a drift is made up for with, on which window. */
export interface Remedy {
  readonly customerId: string;
  readonly payload: string;
  readonly windowStartMs: number;
  readonly timestampMs: number;
  readonly late: boolean;
  /** Of the booking; what is sent has the opposite. */
  readonly difference: bigint;
  /** The report whose event is cancelled; undefined: an event of its own. */
  readonly cancels: string | undefined;
  /** Not to be sent: written off, or before somebody mended its cause, which is Stripe's code. */
  readonly heldFor: string | undefined;
  /** When the invoice is final that the repair is for; undefined where that is not known. */
  readonly finalizesAtMs: number | undefined;
}

/** Identifiers: `accept`ed reports are believed to be counted from now on, `reconciled` ones need no further look. */
interface Consequences {
  readonly accept: readonly string[];
  readonly reconciled: readonly string[];
}

export type Verdict =
  /** Something was sent too lately, or its fate is not settled: nothing can be said yet. */
  | { readonly kind: "wait" }
  /** The sums differ somewhere in the span: halves of it are to be looked at. */
  | { readonly kind: "narrow" }
  | ({ readonly kind: "agree" } & Consequences)
  /** Taken by the stream and not counted: sent again under the same identifiers, which Stripe still knows. */
  | { readonly kind: "resend"; readonly drift: Drift; readonly resend: readonly string[] }
  | ({ readonly kind: "open"; readonly drift: Drift; readonly hindrance: Hindrance } & Consequences)
  /** Left to the invoices of the periods that share the span: closing them carries on what each of them left out. */
  | ({ readonly kind: "invoiced"; readonly drift: Drift } & Consequences)
  | ({ readonly kind: "repair"; readonly drift: Drift; readonly remedy: Remedy } & Consequences);

/** Stripe takes events of 35 days; a day is for the repair to be sent. */
const REPAIR_HORIZON_MS = 34 * 86_400_000;

export function decide(view: SpanView, policy: ReconcilePolicy): Verdict {
  if (!isQuiet(view, policy.lagMs)) return { kind: "wait" };
  const believed = view.reports.filter((report) => isTaken(report) || isDoubtful(report));
  const expected = sumOf(believed);
  const difference = view.counted - expected;
  const all = consequences(believed);
  if (difference === 0n) return { kind: "agree", ...all };
  const divisible = view.endMs - view.startMs > MINUTE_MS;
  if (divisible && (policy.apply !== undefined || view.reports.length > 0)) return { kind: "narrow" };
  // Refused, says Stripe of the last send; but an earlier one was counted.
  const afterAll = reportsOfSum(view.reports.filter(isRefusedAfterSends), difference);
  if (afterAll !== undefined) return { kind: "agree", ...consequences([...believed, ...afterAll]) };
  const explained = explain(view.reports, view.errors, difference);
  const drift: Drift = { explanation: explained.explanation, expected, counted: view.counted };
  if (drift.explanation === "never_sent") {
    const unseen = explained.about.filter((r) => r.state === "sent" && maySend(r.firstAttemptMs, view.nowMs));
    if (unseen.length > 0) return { kind: "resend", drift, resend: unseen.map(({ identifier }) => identifier) };
  }
  const hindrance = hindranceOf(view, policy, explained, drift);
  if (hindrance === undefined) {
    const remedy = remedyOf(view, explained, difference, policy.apply === "write_off");
    return { kind: "repair", drift, remedy, ...all };
  }
  if (hindrance === "boundary" && isInvoiced(view)) return { kind: "invoiced", drift, ...all };
  // With an excess, all of ours is surely there.
  const settled = difference > 0n && explained.explanation !== "unknown" && explained.explanation !== "never_sent";
  return { kind: "open", drift, hindrance, ...(settled ? all : consequences([])) };
}

/** The booking of a drift and what makes up for it, which take the window's next two sequences. */
export function freezeRemedy(
  deploymentId: string,
  { stripeCustomerId, eventName }: Pick<SpanView, "stripeCustomerId" | "eventName">,
  remedy: Remedy,
  nextSequence: number,
): { readonly booking: PlannedReport; readonly repair: PlannedReport } {
  const { customerId, payload, windowStartMs, timestampMs, late, difference, cancels, heldFor, finalizesAtMs } = remedy;
  const window: Pick<PendingWindow, "customerId" | "eventName" | "payload" | "windowStartMs"> = {
    customerId,
    eventName,
    payload,
    windowStartMs,
  };
  const frozen = (sequence: number) => ({
    ...window,
    identifier: identifierOf(deploymentId, window, sequence),
    stripeCustomerId,
    sequence,
    timestampMs,
    late,
  });
  return {
    booking: {
      ...frozen(nextSequence),
      kind: "drift",
      origin: undefined,
      value: difference,
      heldFor: undefined,
      finalizesAtMs: undefined,
    },
    repair: {
      ...frozen(nextSequence + 1),
      kind: cancels === undefined ? "repair" : "cancel",
      origin: cancels,
      value: -difference,
      heldFor,
      finalizesAtMs,
    },
  };
}

/** Whether Stripe's sum, read when it was, says all about what was sent. What was surely not sent by then says nothing against it. */
function isQuiet({ reports, readAtMs }: SpanView, lagMs: number): boolean {
  return reports.filter(isSendable).every(({ state, firstAttemptMs, settledMs }) => {
    if (state === "planned") return firstAttemptMs === undefined;
    if (state === "sending" || state === "unknown") return false;
    if ((state === "held" || state === "superseded") && firstAttemptMs === undefined) return true;
    return settledMs !== undefined && settledMs <= readAtMs - lagMs;
  });
}

function isRefusedAfterSends(report: SpanReport): boolean {
  return report.state === "held" && !isDoubtful(report) && report.firstAttemptMs !== undefined;
}

function consequences(reports: readonly SpanReport[]): Consequences {
  return {
    accept: reports.filter(({ state }) => state !== "accepted").map(({ identifier }) => identifier),
    reconciled: reports.map(({ identifier }) => identifier),
  };
}

function hindranceOf(
  view: SpanView,
  { lagMs, repairLimit, apply }: ReconcilePolicy,
  { explanation, suspects }: Explained,
  drift: Drift,
): Hindrance | undefined {
  const difference = drift.counted - drift.expected;
  const size = difference < 0n ? -difference : difference;
  if (!isOnOneSide(view, suspects)) return "boundary";
  if (apply !== "write_off" && view.nowMs - view.startMs >= REPAIR_HORIZON_MS) return "too_old";
  if (size > VALUE_MAX) return "too_large";
  if (apply === "repair") return undefined;
  if (apply === undefined && explanation === "foreign") return "foreign";
  if (apply === undefined && size > repairLimit) return "limit";
  // Nothing of ours is missing that could still come.
  if (apply === "write_off" && (difference > 0n || view.reports.length === 0)) return undefined;
  // Stripe does not say how late its sums may be: one look could take for missing what comes a minute later. What was sent in vain mends
  // itself then; what was written off would not be billed.
  const { open, readAtMs } = view;
  const seenBefore = open?.expected === drift.expected && open.counted === drift.counted;
  return seenBefore && readAtMs - open.foundAtMs >= lagMs ? undefined : "unconfirmed";
}

/** Whether all that the difference may be about is in one billing period. Of what is foreign nobody knows when in the minute it was. */
function isOnOneSide({ boundariesMs }: SpanView, suspects: readonly SpanReport[]): boolean {
  const periods = suspects.map(({ timestampMs }) => boundariesMs.filter((boundary) => boundary <= timestampMs).length);
  return boundariesMs.length === 0 || new Set(periods).size === 1;
}

/**
 * Whether what each side of the span was billed is settled: by an invoice that is final and tells what it bills, or since none can come for
 * usage so old. Whose the difference is, the invoices tell.
 */
function isInvoiced({ startMs, boundariesMs, nowMs, drafts, finals }: SpanView): boolean {
  const holds = (periods: readonly Interval[], atMs: number) =>
    periods.some((period) => period.startMs <= atMs && atMs < period.endMs);
  const isOld = nowMs - startMs >= REPAIR_HORIZON_MS;
  const comparable = finals.filter((final) => final.comparable);
  return [startMs, ...boundariesMs].every(
    (side) => holds(comparable, side) || (isOld && !holds([...drafts, ...finals], side)),
  );
}

function remedyOf(
  view: SpanView,
  { explanation, code, suspects }: Explained,
  difference: bigint,
  writtenOff: boolean,
): Remedy {
  const cancelled = explanation === "counted_twice" && !writtenOff ? cancellable(view, difference) : undefined;
  const { customerId, payload, windowStartMs, timestampMs, late } = cancelled ?? anchorOf(view, suspects, difference);
  const heldFor = writtenOff ? HELD_WRITTEN_OFF : explanation === "refused" ? code : undefined;
  return {
    customerId,
    payload,
    windowStartMs,
    timestampMs,
    late,
    difference,
    cancels: cancelled?.identifier,
    heldFor,
    finalizesAtMs: view.drafts.find((draft) => draft.startMs <= timestampMs && timestampMs < draft.endMs)
      ?.finalizesAtMs,
  };
}

type Anchor = Pick<SpanReport, "customerId" | "payload" | "windowStartMs" | "timestampMs" | "late">;

/** The report in whose window the difference is booked: one of just this size, else the largest, else any of the span. */
function anchorOf(view: SpanView, about: readonly SpanReport[], difference: bigint): Anchor {
  const candidates = about.length > 0 ? about : view.reports.filter(isTaken);
  const fits = candidates.find(({ value }) => value === difference || value === -difference);
  const largest = candidates.reduce<SpanReport | undefined>(
    (most, one) => (most === undefined || one.value > most.value ? one : most),
    undefined,
  );
  const { customerId, startMs } = view;
  return fits ?? largest ?? { customerId, payload: "{}", windowStartMs: startMs, timestampMs: startMs, late: false };
}

/**
 * The youngest event of just this value that Stripe still lets be cancelled: it does so for 24 h from its receipt, which is not before the
 * first attempt. Where an identifier was counted twice Stripe does not say whether one or both go: both would be missing at the next look.
 */
function cancellable(view: SpanView, value: bigint): SpanReport | undefined {
  const { reports, nowMs } = view;
  const cancelled = new Set(reports.filter(({ kind }) => kind === "cancel").map(({ origin }) => origin));
  return reports
    .filter((report) => isTaken(report) && isSendable(report) && report.kind !== "cancel")
    .filter((report) => report.value === value && !cancelled.has(report.identifier))
    .filter(({ firstAttemptMs }) => firstAttemptMs !== undefined && maySend(firstAttemptMs, nowMs))
    .filter(({ timestampMs }) => !isFinal(view, timestampMs))
    .sort((a, b) => (b.firstAttemptMs ?? 0) - (a.firstAttemptMs ?? 0))[0];
}

/** Whether the invoice of that time is final, or will be before a cancel is surely heeded. A negative report is late usage then, a cancel would be lost. */
function isFinal({ drafts, finals, nowMs }: SpanView, timestampMs: number): boolean {
  const ending = drafts.filter(({ finalizesAtMs }) => finalizesAtMs <= nowMs + FINALIZATION_MARGIN_MS);
  return [...finals, ...ending].some(({ startMs, endMs }) => startMs <= timestampMs && timestampMs < endMs);
}
