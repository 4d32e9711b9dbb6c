// What an error of the SDK says about a report. One table; anything it does not know is "unknown", since a report that is wrongly taken
// for not processed would be counted twice after a day.
import Stripe from "stripe";
import type { SinkOutcome } from "../domain/report.ts";

type Rule = readonly [matches: (error: unknown) => boolean, outcome: (message: string) => SinkOutcome];

const { StripeIdempotencyError, StripeRateLimitError, StripeAuthenticationError } = Stripe.errors;
const { StripePermissionError, StripeInvalidRequestError, StripeConnectionError } = Stripe.errors;

const duplicate = (): SinkOutcome => ({ kind: "duplicate" });
const conflict = (message: string): SinkOutcome => ({ kind: "conflict", message });
const throttled = (message: string): SinkOutcome => ({ kind: "throttled", message });
const unknown = (message: string): SinkOutcome => ({ kind: "unknown", message });
const refused = (code: string) => {
  return (message: string): SinkOutcome => ({ kind: "refused", code, message });
};

/** First match wins. Messages are matched where Stripe sends no code; the wordings are those that were seen of the real API. */
const RULES: readonly Rule[] = [
  // 400: the key was used with other parameters.
  [isA(StripeIdempotencyError), conflict],
  // 429, and 400 with code rate_limit: turned away before anything was done.
  [isA(StripeRateLimitError), throttled],
  // 401 and 403: our key is wrong, or may not do this. Every report fails alike, and none is at fault.
  [isA(StripeAuthenticationError), throttled],
  [isA(StripePermissionError), throttled],
  // 404 without such a route: STRIPE_API_BASE points elsewhere. No report is at fault.
  [invalid(/^Unrecognized request URL/), throttled],
  // The rest are 400 and 404 of type invalid_request_error. A duplicate has no code today; this is the code it has in v2.
  [invalid(/^An event already exists with identifier/, "duplicate_meter_event"), duplicate],
  [invalid(/^No active meter found/, "no_meter", "archived_meter"), refused("no_active_meter")],
  [invalid(/^No such customer/, "resource_missing"), refused("no_such_customer")],
  [invalid(/timestamp.*\bpast\b/i), refused("timestamp_too_old")],
  [invalid(/timestamp.*\bfuture\b/i), refused("timestamp_in_future")],
  [invalid(/\bvalue\b/i, "payload_invalid_value"), refused("invalid_value")],
  // Whatever it is, it is about this request, and would be the same again.
  [isA(StripeInvalidRequestError), refused("other")],
  // No connection came about, so nothing was sent. A day without network must not leave every report of unknown fate.
  [isNotConnected, throttled],
];

/** How a send ended that the SDK rejected. Connections lost, timeouts, 409, 5xx, unreadable answers and all else are unknown. */
export function outcomeOfError(error: unknown): SinkOutcome {
  const rule = RULES.find(([matches]) => matches(error));
  const outcome = rule === undefined ? unknown : rule[1];
  return outcome(messageOf(error));
}

function isA(type: new (...args: never[]) => Error): (error: unknown) => boolean {
  return (error) => error instanceof type;
}

/** An invalid_request_error with one of these codes, or with a message like this one. */
function invalid(message: RegExp, ...codes: readonly string[]): (error: unknown) => boolean {
  return (error) =>
    error instanceof StripeInvalidRequestError &&
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

function messageOf(error: unknown): string {
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
