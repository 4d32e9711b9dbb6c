// What Stripe, or something on the way to it, may answer to whatever was asked, and the outcome of each.
import { type Answer, json, stripeError } from "./stand-in.ts";

export type Row = readonly [name: string, answer: Answer, outcome: object];

/** An invalid_request_error. */
export function invalid(message: string, code?: string, status = 400, headers: Record<string, string> = {}): Answer {
  return stripeError(status, { type: "invalid_request_error", message, ...(code && { code }) }, headers);
}

export const reset: Answer = (response) => response.socket?.resetAndDestroy();

const truncated: Answer = (response) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": "500", "request-id": "req_1" });
  response.write("{", () => response.socket?.destroy());
};

function html(status: number): Answer {
  return (response) => {
    response.writeHead(status, { "content-type": "text/html" });
    response.end("<html>bad gateway</html>");
  };
}

/** The same for a v1 event, a v1 adjustment and the stream. */
export const rowsOfAnyCall: readonly Row[] = [
  [
    "429 of the rate limiter",
    invalid("Request rate limit exceeded", "rate_limit", 429, { "stripe-rate-limited-reason": "global-rate" }),
    { kind: "throttled" },
  ],
  [
    "429 of the concurrency limiter",
    invalid("Too many", undefined, 429, { "stripe-rate-limited-reason": "endpoint-concurrency" }),
    { kind: "throttled" },
  ],
  [
    "429 lock timeout, which asks for a retry",
    invalid("lock", "lock_timeout", 429, { "stripe-should-retry": "true" }),
    { kind: "throttled" },
  ],
  ["400 with code rate_limit", invalid("slow", "rate_limit"), { kind: "throttled" }],
  ["401", invalid("Invalid API Key", undefined, 401), { kind: "throttled" }],
  ["403", invalid("may not", undefined, 403), { kind: "throttled" }],
  [
    "404 for the route: a wrong address, not a wrong report",
    invalid("Unrecognized request URL (POST: /v1/billing/meter_events).", undefined, 404),
    { kind: "throttled" },
  ],
  ["402", stripeError(402, { type: "card_error", message: "?" }), { kind: "unknown" }],
  [
    "409, the same key still in flight",
    stripeError(409, { type: "idempotency_error", message: "There is currently another in-progress request ..." }),
    { kind: "unknown" },
  ],
  ["409 of any other kind", invalid("conflict", undefined, 409), { kind: "unknown" }],
  ["500", stripeError(500, { type: "api_error", message: "An unknown error occurred" }), { kind: "unknown" }],
  ["503", stripeError(503, { type: "api_error", message: "down" }), { kind: "unknown" }],
  ["502 in HTML", html(502), { kind: "unknown" }],
  ["404 in HTML", html(404), { kind: "unknown" }],
  ["200 in HTML", html(200), { kind: "unknown" }],
  ["200 without a body", (response) => response.end(), { kind: "unknown" }],
  ["200 cut off", truncated, { kind: "unknown" }],
  ["200 with null", json(200, null), { kind: "unknown" }],
  [
    "503 in JSON without an error, which the SDK takes for a success",
    json(503, { status: "down" }),
    { kind: "unknown" },
  ],
  ["404 with a bare error string", json(404, { error: "not found" }), { kind: "unknown" }],
  ["connection reset", reset, { kind: "unknown" }],
];

/** The same for v1 events and adjustments, whose idempotency key is the report's identifier. */
export const rowsOfV1: readonly Row[] = [
  [
    "same key, other parameters",
    stripeError(400, { type: "idempotency_error", message: "Keys for idempotent requests can only be used with ..." }),
    { kind: "conflict" },
  ],
];
