// Reports: what is sent to Stripe, frozen before the first send. Planning and the fate of a report, as pure functions.
import { hash } from "node:crypto";
import { type BillingTime, type LateUsagePolicy, place } from "./late-usage.ts";
import { heldPart, type ReportedElsewhere, sharesOf } from "./taking-back.ts";

/** What waits for Stripe in one window. `total - reported` is not yet frozen into a report. */
export interface PendingWindow extends BillingTime {
  readonly customerId: string;
  /** The Stripe customer to bill; windows of unmapped customers are never planned. */
  readonly stripeCustomerId: string;
  readonly eventName: string;
  /** What else its events carry: canonical JSON of an object of strings. */
  readonly payload: string;
  /** The window is a minute, or the part of one on one side of a period boundary. Whole seconds. */
  readonly windowEndMs: number;
  readonly total: bigint;
  readonly reported: bigint;
  /** Of the next report of this window, from 0. */
  readonly nextSequence: number;
  /** When the first draft invoice of the window's period is final; undefined where none is known. */
  readonly finalizesAtMs: number | undefined;
  /** What its reports hold that were refused, or are held for another reason, and surely not counted; undefined where that is nothing. */
  readonly held: { readonly quantity: bigint; readonly reason: string } | undefined;
  /** Reported to Stripe customers that were mapped before, last first; empty unless something is to be taken back. */
  readonly elsewhere: readonly ReportedElsewhere[];
}

/**
 * What a report is for. Sent: `usage`, what a window held beyond what was reported; `retry`, the value of a held report once more;
 * `repair`, what makes up for a drift; `cancel`, the same by cancelling the event `origin`; `carry`, what an invoice left out, once more.
 * Booked and never sent: `drift`, what Stripe counted beyond what was believed; `unbilled`, what it counted after the invoice was final.
 */
export type ReportKind = "usage" | "retry" | "repair" | "cancel" | "carry" | "drift" | "unbilled";

/** A frozen intent. None of these fields ever changes, nor is the identifier ever sent with others (P3). */
export interface Report {
  /** Also the Idempotency-Key; at most 100 characters. */
  readonly identifier: string;
  readonly kind: ReportKind;
  /** The report that a retry is sent instead of, or whose event a cancel cancels; undefined for other kinds. */
  readonly origin: string | undefined;
  readonly customerId: string;
  readonly stripeCustomerId: string;
  readonly eventName: string;
  /** As the window's. */
  readonly payload: string;
  readonly windowStartMs: number;
  readonly sequence: number;
  /** 1 to 15 digits, never 0. Negative when a window shrank (a period boundary became known late, or a correction). */
  readonly value: bigint;
  /** Of the event, in whole seconds: the window's start, which is inside the right billing period (P4), unless the report is late. */
  readonly timestampMs: number;
  /** The window's period was closed: the event carries the time of planning, in the period that is open. */
  readonly late: boolean;
}

/** A report as it is frozen: to be sent, or held from the start. */
export interface PlannedReport extends Report {
  /** Why it is held; undefined: it is not. */
  readonly heldFor: string | undefined;
  /** When the invoice is final that it is for; undefined where that is not known. */
  readonly finalizesAtMs: number | undefined;
}

/** What planning depends on besides the windows. */
export interface PlanContext {
  /** Part of every identifier: keeps two deployments on one Stripe account apart. */
  readonly deploymentId: string;
  readonly lateUsage: LateUsagePolicy;
  /** Of the database, which all planners share. */
  readonly nowMs: number;
}

/** Stripe takes values of at most 15 significant digits. */
export const VALUE_MAX = 999_999_999_999_999n;

/**
 * Freezes what windows have beyond what was reported: the values of a window's new reports add up to `total - reported`, and their
 * sequences follow on `nextSequence`. Each is stamped inside its own billing period while that can be billed, else as late usage. What is
 * taken back goes to whom it was reported.
 */
export function planReports(windows: readonly PendingWindow[], context: PlanContext): PlannedReport[] {
  return windows.flatMap((window) => {
    const { customerId, stripeCustomerId, eventName, payload, windowStartMs } = window;
    const delta = window.total - window.reported;
    const { withHeld, reason } = heldPart(window, delta);
    const besideHeld = { timestampMs: windowStartMs, late: false, heldFor: reason };
    const { finalizesAtMs } = window;
    const parts = [
      ...splitValue(withHeld).map((value) => ({ value, stripeCustomerId, finalizesAtMs, ...besideHeld })),
      ...sharesOf(window, delta - withHeld).flatMap(({ payer, quantity }) => {
        const placement = place({ ...payer, windowStartMs }, context.lateUsage, context.nowMs);
        const finalizesAtMs = placement.late ? undefined : payer.finalizesAtMs;
        const { stripeCustomerId } = payer;
        return splitValue(quantity).map((value) => ({ value, stripeCustomerId, finalizesAtMs, ...placement }));
      }),
    ];
    return parts.map((part, i): PlannedReport => {
      const sequence = window.nextSequence + i;
      return {
        identifier: identifierOf(context.deploymentId, window, sequence),
        kind: "usage",
        origin: undefined,
        customerId,
        eventName,
        payload,
        windowStartMs,
        sequence,
        ...part,
      };
    });
  });
}

/**
 * Identifier of a report, the same whoever plans it: "u-" window start in unix seconds "-" sequence "-" 40 hex digits, at most 80
 * characters. Different inputs give different identifiers. Throws RangeError on a window that does not start on a whole second: Stripe's
 * timestamps are whole seconds, so such a window could end up in the wrong billing period.
 */
export function identifierOf(
  deploymentId: string,
  window: Pick<PendingWindow, "customerId" | "eventName" | "payload" | "windowStartMs">,
  sequence: number,
): string {
  const { customerId, eventName, payload, windowStartMs } = window;
  const seconds = windowStartMs / 1000;
  if (!Number.isSafeInteger(seconds)) throw new RangeError(`window start ${windowStartMs} ms is not a whole second`);
  // JSON keeps the parts apart: ("a", "bc") and ("ab", "c") differ. Without a payload, as it was before there was one.
  const extra = payload === "{}" ? [] : [payload];
  const digest = hash(
    "sha256",
    JSON.stringify([deploymentId, customerId, eventName, seconds, sequence, ...extra]),
    "hex",
  );
  return `u-${seconds}-${sequence}-${digest.slice(0, 40)}`;
}

/** Parts of a quantity that Stripe takes as values; none for 0. */
export function splitValue(delta: bigint): bigint[] {
  const parts: bigint[] = [];
  let rest = delta;
  while (rest !== 0n) {
    const part = rest > VALUE_MAX ? VALUE_MAX : rest < -VALUE_MAX ? -VALUE_MAX : rest;
    parts.push(part);
    rest -= part;
  }
  return parts;
}

/** What a sink said of one send. */
export type SinkOutcome =
  | { readonly kind: "accepted" }
  /** Taken without a check: whether it counts, only Stripe's summaries tell. */
  | { readonly kind: "taken" }
  /** The sink already had this identifier: as good as accepted. */
  | { readonly kind: "duplicate" }
  /** Never will be taken as it is. */
  | { readonly kind: "refused"; readonly code: string; readonly message: string }
  /** The sink knows the identifier for something else than this report: a fault in freezing, or a ledger that was set back. */
  | { readonly kind: "conflict"; readonly message: string }
  /** Not processed, may be later: rate limits, and faults of our credentials, which are no fault of the report. */
  | { readonly kind: "throttled"; readonly message: string }
  /** Processed or not: nobody knows. */
  | { readonly kind: "unknown"; readonly message: string };

export const REPORT_STATES = ["planned", "sending", "unknown", "sent", "accepted", "held", "superseded"] as const;

/**
 * planned: never sent, or surely not processed. sending: a send may be under way. unknown: was sent, fate unknown.
 * sent: taken without a check, by the stream. accepted, held: settled. superseded: held, and then
 * replaced by a retry.
 */
export type ReportState = (typeof REPORT_STATES)[number];

/** A resend is safe while Stripe surely still knows the identifier: it keeps identifiers and keys for at least 24 h; one hour is spare. */
export const RESEND_HORIZON_MS = 23 * 3_600_000;

/** Why a report is held whose outcome stayed unknown past RESEND_HORIZON_MS. */
export const HELD_OUTCOME_UNKNOWN = "outcome_unknown";

/** Why a report is held from the start that makes up for something an operator has written off. */
export const HELD_WRITTEN_OFF = "written_off";

/** Why a report is held that the sink knows as something else. */
export const HELD_CONFLICT = "identifier_conflict";

/** Whether a report may be sent (again) at `nowMs`. `firstAttemptMs` is the first send whose fate is not known to be "not processed". */
export function maySend(firstAttemptMs: number | undefined, nowMs: number): boolean {
  return firstAttemptMs === undefined || nowMs - firstAttemptMs < RESEND_HORIZON_MS;
}

/** Where an outcome leaves a report. */
export interface Settlement {
  readonly state: "planned" | "unknown" | "sent" | "accepted" | "held";
  /** Earliest next send, after the settlement; 0 where there is none, or where it may be at once. */
  readonly retryAfterMs: number;
  /** Sends made, this one included. */
  readonly attempts: number;
  /** Whether no send so far can have been processed: the resend horizon then starts afresh with the next one. */
  readonly untouched: boolean;
  /** Machine-readable cause for held, planned again or unknown; empty when sent or accepted. */
  readonly reason: string;
  /** For people; at most MESSAGE_MAX characters. */
  readonly message: string;
}

/** Longest message kept with a report, in UTF-16 units. */
export const MESSAGE_MAX = 500;

/**
 * Settles one send. `before` is the state in which the send found the report: a throttled resend of an unknown report stays unknown, since
 * an earlier send may have been processed. `attempts` counts sends, this one included.
 */
export function settle(outcome: SinkOutcome, before: "planned" | "unknown", attempts: number): Settlement {
  const ended = { attempts, untouched: false, retryAfterMs: 0, reason: "", message: "" };
  switch (outcome.kind) {
    case "accepted":
    case "duplicate":
      return { ...ended, state: "accepted" };
    case "taken":
      return { ...ended, state: "sent" };
    case "refused": {
      const message = shortened(outcome.message);
      return { ...ended, state: "held", untouched: before === "planned", reason: outcome.code, message };
    }
    case "conflict":
      return { ...ended, state: "held", reason: HELD_CONFLICT, message: shortened(outcome.message) };
    case "throttled":
    case "unknown": {
      const { kind, message } = outcome;
      const state = kind === "throttled" ? before : "unknown";
      const again = { retryAfterMs: backOffMs(attempts), reason: kind, message: shortened(message) };
      return { ...ended, ...again, state, untouched: state === "planned" };
    }
  }
}

/** Gives back a report that was marked as being sent and then surely was not. `attempts` counts the send that did not happen. */
export function giveBack(before: "planned" | "unknown", attempts: number): Settlement {
  const untouched = before === "planned";
  return { state: before, retryAfterMs: 0, attempts: attempts - 1, untouched, reason: "not_sent", message: "" };
}

function shortened(message: string): string {
  return message.length <= MESSAGE_MAX ? message : `${message.slice(0, MESSAGE_MAX - 1)}…`;
}

/** 1 s, doubled per attempt, at most 5 min. */
function backOffMs(attempts: number): number {
  return Math.min(1000 * 2 ** Math.min(attempts - 1, 20), 300_000);
}
