// Stripe's error answers. Wordings tagged [OBS] and [DOC] in the facts are exact; the others are as close as could be known,
// so a client should not match on them.
import { isV2 } from "./v2.ts";

/** Stripe's `error.type`; the last is v2's alone. */
export type StripeErrorType = "invalid_request_error" | "api_error" | "idempotency_error" | "temporary_session_expired";

/** Types that v2 has names for, beside rate_limit; other errors of its have a code only. */
const V2_TYPES: readonly StripeErrorType[] = ["idempotency_error", "temporary_session_expired"];

interface StripeErrorFields {
  readonly type?: StripeErrorType;
  readonly code?: string;
  readonly param?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer of Stripe's that is not 2xx. Thrown by handlers; the engine turns it into status, headers and body. */
export class StripeError extends Error {
  override readonly name = "StripeError";
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly #fields: StripeErrorFields;

  constructor(status: number, message: string, fields: StripeErrorFields = {}) {
    super(message);
    this.status = status;
    this.headers = fields.headers ?? {};
    this.#fields = fields;
  }

  /** The answer to a request for `path`: v1 and v2 have shapes of their own. */
  answerTo(path: string): { readonly status: number; readonly headers: StripeError["headers"]; readonly body: object } {
    return { status: this.status, headers: this.headers, body: { error: isV2(path) ? this.#v2() : this.#v1() } };
  }

  #v1(): object {
    const { type = "invalid_request_error", code, param } = this.#fields;
    return {
      ...(code === undefined
        ? {}
        : { code, doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll("_", "-")}` }),
      message: this.message,
      ...(param === undefined ? {} : { param }),
      type,
    };
  }

  #v2(): object {
    const { type, code } = this.#fields;
    const named = code === "rate_limit" ? code : V2_TYPES.find((one) => one === type);
    return { ...(named === undefined ? {} : { type: named }), code: v2Code(this.status, code), message: this.message };
  }
}

/** v2 always has a code; those of parameters are one. */
function v2Code(status: number, code: string | undefined): string {
  if (code === "resource_missing") return "not_found";
  if (code !== undefined && !code.startsWith("parameter_") && code !== "url_invalid") return code;
  if (status >= 500) return "internal_error";
  return { 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict" }[status] ?? "invalid_fields";
}

/** 400 invalid_request_error: the request cannot be carried out as it is. */
export function badRequest(message: string, fields: StripeErrorFields = {}): StripeError {
  return new StripeError(400, message, fields);
}

/** The object named in the path (404) or in a parameter (400) is not there. */
export function noSuch(kind: string, id: string, param?: string): StripeError {
  const message = `No such ${kind}: '${id}'`;
  return new StripeError(param === undefined ? 404 : 400, message, { code: "resource_missing", param: param ?? "id" });
}

/** 401 when no key was sent, or one that this account does not have. */
export function unauthorized(key: string | undefined): StripeError {
  if (key === undefined) {
    return new StripeError(
      401,
      "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth " +
        "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, " +
        "or we can help at https://support.stripe.com/.",
    );
  }
  const shown = key.length > 12 ? `${key.slice(0, 8)}${"*".repeat(key.length - 12)}${key.slice(-4)}` : "****";
  return new StripeError(401, `Invalid API Key provided: ${shown}`);
}

/** 429 of the rate limiter, which says why in a header; a client may see `shouldRetry` as Stripe-Should-Retry. */
export function rateLimited(reason: string | undefined, shouldRetry?: boolean): StripeError {
  const headers: Record<string, string> = {};
  if (reason !== undefined) headers["stripe-rate-limited-reason"] = reason;
  if (shouldRetry !== undefined) headers["stripe-should-retry"] = String(shouldRetry);
  return new StripeError(
    429,
    "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
    { code: "rate_limit", headers },
  );
}

/** 404 for a route that Stripe, or this simulator, does not have. */
export function unknownRoute(method: string, path: string): StripeError {
  return new StripeError(
    404,
    `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.`,
  );
}
