// Everything that can go wrong by a caller's doing or a store's, as data. Anything thrown that is not a
// MeteringError is a bug: logged with its cause, INTERNAL outside. rpc/error-status maps these to codes.

/** One violated bound: the request field's path, as in the proto ("record.measurements[2].quantity"), and what it must be. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** The closed set of failures. `kind` decides; the rest is for the caller to read. */
export type MeteringFailure =
  | { readonly kind: "invalid_request"; readonly violations: readonly FieldViolation[] }
  | { readonly kind: "invalid_record"; readonly violations: readonly FieldViolation[] }
  | { readonly kind: "event_time_out_of_range"; readonly violations: readonly FieldViolation[] }
  | { readonly kind: "unknown_meter"; readonly violations: readonly FieldViolation[] }
  /** The key stands for a different record. */
  | { readonly kind: "idempotency_key_reused"; readonly customerId: string; readonly idempotencyKey: string }
  /** The record may or may not be stored; resend it with the same key. */
  | { readonly kind: "intake_unavailable"; readonly retryAfterMs: number }
  /** Nothing was stored; resend later. */
  | { readonly kind: "intake_full"; readonly retryAfterMs: number }
  /** The ledger cannot be read or corrected now. */
  | { readonly kind: "ledger_unavailable"; readonly retryAfterMs: number }
  /** The ledger holds no record under this key. */
  | { readonly kind: "record_not_found"; readonly customerId: string; readonly idempotencyKey: string }
  /** The key's tier refuses further use. Without retryAfterMs no window is large enough. */
  | {
      readonly kind: "limit_reached";
      readonly customerId: string;
      readonly apiKeyId: string;
      readonly window: "minute" | "day";
      readonly limit: bigint;
      readonly remaining: bigint;
      readonly resetMs: number;
      readonly retryAfterMs?: number;
    }
  /** What a key has used is not known now. */
  | { readonly kind: "limits_unknown"; readonly retryAfterMs: number }
  | { readonly kind: "api_key_not_found"; readonly customerId: string; readonly apiKeyId: string }
  /** Defined, and otherwise. */
  | { readonly kind: "api_key_exists"; readonly customerId: string; readonly apiKeyId: string }
  | { readonly kind: "api_key_disabled"; readonly customerId: string; readonly apiKeyId: string }
  | { readonly kind: "too_many_api_keys" }
  /** A consistency, page or resume token that was true once and no longer fits; start over without it. */
  | { readonly kind: "token_expired" }
  /** The call's deadline passed, or the caller hung up, while waiting. */
  | { readonly kind: "deadline_exceeded" }
  /** Nobody that is known calls. */
  | { readonly kind: "credentials_missing_or_invalid" }
  /** The caller may not do this. */
  | { readonly kind: "scope_missing"; readonly scope: string }
  /** The caller may not act for this customer, whether or not it exists. */
  | { readonly kind: "customer_not_allowed" }
  | { readonly kind: "access_token_not_found"; readonly tokenId: string }
  | { readonly kind: "too_many_access_tokens" }
  /** The server holds as many streams as it may. */
  | { readonly kind: "too_many_streams"; readonly retryAfterMs: number }
  /** The reader of a stream took nothing for so long that its place was given up; it may come back and resume. */
  | { readonly kind: "reader_too_slow"; readonly retryAfterMs: number }
  /** The server drains; reconnect elsewhere or in a moment. */
  | { readonly kind: "draining"; readonly retryAfterMs: number };

/** Carries a MeteringFailure through throw and reject. `message` is safe to show to the caller; `cause` never leaves the process. */
export class MeteringError extends Error {
  override readonly name = "MeteringError";
  readonly failure: MeteringFailure;

  constructor(failure: MeteringFailure, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.failure = failure;
  }
}
