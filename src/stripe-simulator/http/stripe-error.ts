// Stripe's error answers. Wordings tagged [OBS] and [DOC] in the facts are exact; the others are as close as could be known,
// so a client should not match on them.

/** Stripe's `error.type` on v1. */
export type StripeErrorType = "invalid_request_error" | "idempotency_error" | "api_error";

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
  readonly body: object;

  constructor(status: number, message: string, fields: StripeErrorFields = {}) {
    super(message);
    const { type = "invalid_request_error", code, param, headers = {} } = fields;
    this.status = status;
    this.headers = headers;
    this.body = {
      error: {
        ...(code === undefined
          ? {}
          : { code, doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll("_", "-")}` }),
        message,
        ...(param === undefined ? {} : { param }),
        type,
      },
    };
  }
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

/** 404 for a route that Stripe, or this simulator, does not have. */
export function unknownRoute(method: string, path: string): StripeError {
  return new StripeError(
    404,
    `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.`,
  );
}
