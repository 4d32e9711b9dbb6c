// What an error of the SDK says about a report. One table; anything it does not know is "unknown", since a report that is wrongly taken
// for not processed would be counted twice after a day.
import Stripe from "stripe";
import type { SinkOutcome } from "../domain/report.ts";

/** What was called: a v1 meter event, many events of the stream, a v1 meter event adjustment that cancels. */
export type SinkCall = "event" | "stream" | "cancel";

type Rule = readonly [
  calls: readonly SinkCall[],
  matches: (error: unknown) => boolean,
  outcome: (message: string) => SinkOutcome,
];

const { StripeIdempotencyError, StripeRateLimitError, RateLimitError, StripeAuthenticationError } = Stripe.errors;
const { StripePermissionError, StripeInvalidRequestError, StripeConnectionError } = Stripe.errors;
const { TemporarySessionExpiredError } = Stripe.errors;

const duplicate = (): SinkOutcome => ({ kind: "duplicate" });
const conflict = (message: string): SinkOutcome => ({ kind: "conflict", message });
const throttled = (message: string): SinkOutcome => ({ kind: "throttled", message });
const unknown = (message: string): SinkOutcome => ({ kind: "unknown", message });
const refused = (code: string) => {
  return (message: string): SinkOutcome => ({ kind: "refused", code, message });
};

const ANY = ["event", "stream", "cancel"] as const;
const EVENTS = ["event", "stream"] as const;

/**
 * First match wins. Messages are matched where Stripe sends no code; the wordings are those that were seen of the real API, save those of
 * adjustments, which nobody has told. Codes are those of v2's table of meter events; v1 sends none today. The stream checks nothing about
 * an event before it answers: what it refuses is a request, on account of any of its events.
 */
const RULES: readonly Rule[] = [
  // 400: the key was used with other parameters. Each request of the stream has a key of its own. v2 has this class for a 409 too.
  [["event", "cancel"], isA(StripeIdempotencyError, 400), conflict],
  // 401 of the stream: the session's time is over. It is renewed.
  [["stream"], isA(TemporarySessionExpiredError), throttled],
  // 429, and 400 with code rate_limit: turned away before anything was done. So is a lock_timeout, which got no lock. v2: by type.
  [ANY, isA(StripeRateLimitError), throttled],
  [ANY, isA(RateLimitError), throttled],
  // 401 and 403: our key is wrong, or may not do this. Every report fails alike, and none is at fault.
  [ANY, isA(StripeAuthenticationError), throttled],
  [ANY, isA(StripePermissionError), throttled],
  // 404 without such a route: STRIPE_API_BASE points elsewhere. No report is at fault.
  [ANY, invalid(/^Unrecognized request URL/), throttled],
  // The rest are 400 and 404 of type invalid_request_error. A duplicate has no code in v1 today.
  [EVENTS, invalid(/^An event already exists with identifier/, "duplicate_meter_event"), duplicate],
  [["cancel"], invalid(/\balready\b.*\bcancel/i, "already_canceled"), duplicate],
  [ANY, invalid(/^No active meter found/, "no_meter", "archived_meter"), refused("no_active_meter")],
  [EVENTS, invalid(/^No such customer/, "resource_missing"), refused("no_such_customer")],
  // The meter looks for the customer or the value under another key: see meters.ts.
  [
    EVENTS,
    invalid(/\bkey\b.*\bnot found in payload/i, "payload_no_customer_defined", "payload_no_value_defined"),
    refused("unfit_meter"),
  ],
  [EVENTS, invalid(/timestamp.*\bpast\b/i, "timestamp_too_far_in_past"), refused("timestamp_too_old")],
  [EVENTS, invalid(/timestamp.*\bfuture\b/i, "timestamp_in_future"), refused("timestamp_in_future")],
  [EVENTS, invalid(/\bvalue\b/i, "payload_invalid_value"), refused("invalid_value")],
  // An identifier that is not known, an event older than 24 h, or whatever else: this event cannot be cancelled, now or later.
  [["cancel"], invalid(/^/), refused("cannot_cancel")],
  // Whatever it is, it is about this request, and would be the same again.
  [EVENTS, invalid(/^/), refused("other")],
  // A request that something on the way found too big, or could not read.
  [["stream"], hasStatus(413, 422), refused("other")],
  // No connection came about, so nothing was sent. A day without network must not leave every report of unknown fate.
  [ANY, isNotConnected, throttled],
];

/**
 * How a call ended that the SDK rejected. Connections lost, timeouts, 402, 409, 5xx, unreadable answers and all else are unknown: 409 of
 * one key in flight, and of a customer's meter that was sent to side by side, may each be somebody's send that goes on.
 */
export function outcomeOfError(error: unknown, call: SinkCall): SinkOutcome {
  const rule = RULES.find(([calls, matches]) => calls.includes(call) && matches(error));
  const outcome = rule === undefined ? unknown : rule[2];
  return outcome(messageOf(error));
}

/** Whether the stream did not take a session's token: it has expired, or is none at all. */
export function isSessionRefused(error: unknown): boolean {
  return error instanceof TemporarySessionExpiredError || error instanceof StripeAuthenticationError;
}

/** For people: what the error says, with its code, its status and the request's id. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts = [error.message];
  if (error instanceof Stripe.errors.StripeError) {
    if (error.code !== undefined) parts.push(`code ${error.code}`);
    if (error.statusCode !== undefined) parts.push(`HTTP ${error.statusCode}`);
    if (error.detail instanceof Error) parts.push(error.detail.message);
    if (error.requestId !== undefined) parts.push(`request ${error.requestId}`);
  }
  return parts.join("; ");
}

function isA(type: new (...args: never[]) => Stripe.errors.StripeError, status?: number): (error: unknown) => boolean {
  return (error) => error instanceof type && (status === undefined || error.statusCode === status);
}

function hasStatus(...statuses: readonly number[]): (error: unknown) => boolean {
  return (error) => error instanceof Stripe.errors.StripeError && statuses.includes(error.statusCode ?? 0);
}

/** A 400 or 404 for the request itself, with one of these codes, or with a message like this one. */
function invalid(message: RegExp, ...codes: readonly string[]): (error: unknown) => boolean {
  return (error) =>
    error instanceof StripeInvalidRequestError &&
    // By v2's code invalid_fields the class comes with any status.
    (error.statusCode === 400 || error.statusCode === 404) &&
    ((error.code !== undefined && codes.includes(error.code)) || message.test(error.message));
}

/** The system refused to connect, or found no address. Where several addresses were tried: all of them. */
function isNotConnected(error: unknown): boolean {
  if (!(error instanceof StripeConnectionError)) return false;
  const detail: unknown = error.detail;
  if (detail instanceof AggregateError) return detail.errors.length > 0 && detail.errors.every(isConnectFailure);
  return isConnectFailure(detail);
}

function isConnectFailure(cause: unknown): boolean {
  return (
    cause instanceof Error && "syscall" in cause && (cause.syscall === "connect" || cause.syscall === "getaddrinfo")
  );
}
