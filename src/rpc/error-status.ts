// The only table from failures to canonical codes and details. A status is made here once; gRPC, Connect and batch items only encode it.
import { create, type DescMessage, type Message, type MessageShape } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { status as Code } from "@grpc/grpc-js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.ts";
import { type Status, StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import type { ErrorReason } from "../../gen/metering/v1/usage_pb.ts";
import { type FieldViolation, MeteringError, type MeteringFailure } from "../domain/errors.ts";

/** ErrorInfo.domain of every status that this service makes. */
const ERROR_DOMAIN = "metering.v1";

/** One detail message with its descriptor. */
export interface ErrorDetail {
  readonly desc: DescMessage;
  readonly value: Message;
}

/** A google.rpc.Status before encoding. */
export interface ErrorStatus {
  /** Canonical code, the same number in gRPC and Connect. */
  readonly code: Code;
  /** For the caller to read; safe to show. */
  readonly message: string;
  /** ErrorReason without the prefix, also in the ErrorInfo. */
  readonly reason: string;
  /** At most one of a type. */
  readonly details: readonly ErrorDetail[];
}

type Kind = MeteringFailure["kind"];

const TABLE: { readonly [K in Kind]: readonly [code: Code, reason: keyof typeof ErrorReason] } = {
  invalid_request: [Code.INVALID_ARGUMENT, "INVALID_REQUEST"],
  invalid_record: [Code.INVALID_ARGUMENT, "INVALID_RECORD"],
  unknown_meter: [Code.INVALID_ARGUMENT, "UNKNOWN_METER"],
  event_time_out_of_range: [Code.INVALID_ARGUMENT, "EVENT_TIME_OUT_OF_RANGE"],
  idempotency_key_reused: [Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED"],
  record_not_found: [Code.NOT_FOUND, "RECORD_NOT_FOUND"],
  intake_unavailable: [Code.UNAVAILABLE, "INTAKE_UNAVAILABLE"],
  intake_full: [Code.RESOURCE_EXHAUSTED, "INTAKE_FULL"],
  ledger_unavailable: [Code.UNAVAILABLE, "LEDGER_UNAVAILABLE"],
  limit_reached: [Code.RESOURCE_EXHAUSTED, "LIMIT_REACHED"],
  limits_unknown: [Code.UNAVAILABLE, "LIMITS_UNKNOWN"],
  api_key_not_found: [Code.NOT_FOUND, "API_KEY_NOT_FOUND"],
  api_key_exists: [Code.ALREADY_EXISTS, "API_KEY_EXISTS"],
  api_key_disabled: [Code.FAILED_PRECONDITION, "API_KEY_DISABLED"],
  too_many_api_keys: [Code.RESOURCE_EXHAUSTED, "TOO_MANY_API_KEYS"],
  token_expired: [Code.OUT_OF_RANGE, "TOKEN_EXPIRED"],
  deadline_exceeded: [Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"],
  credentials_missing_or_invalid: [Code.UNAUTHENTICATED, "CREDENTIALS_MISSING_OR_INVALID"],
  scope_missing: [Code.PERMISSION_DENIED, "SCOPE_MISSING"],
  customer_not_allowed: [Code.PERMISSION_DENIED, "CUSTOMER_NOT_ALLOWED"],
  access_token_not_found: [Code.NOT_FOUND, "ACCESS_TOKEN_NOT_FOUND"],
  too_many_access_tokens: [Code.RESOURCE_EXHAUSTED, "TOO_MANY_ACCESS_TOKENS"],
  too_many_streams: [Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS"],
  reader_too_slow: [Code.RESOURCE_EXHAUSTED, "READER_TOO_SLOW"],
  draining: [Code.UNAVAILABLE, "DRAINING"],
};

/** Details go in a trailer, in base64; with this much text they fit the 8 KiB that the strictest gRPC implementations take. */
const VIOLATIONS_MAX_BYTES = 3000;
/** Messages go in a trailer too. */
const MESSAGE_MAX = 300;

/** The status of anything thrown. What is no MeteringError is a bug: INTERNAL, and nothing of it is told. */
export function toErrorStatus(error: unknown): ErrorStatus {
  if (!(error instanceof MeteringError)) {
    const details = [errorInfo("INTERNAL", {})];
    return { code: Code.INTERNAL, message: "internal error", reason: "INTERNAL", details };
  }
  const { failure } = error;
  const [code, reason] = TABLE[failure.kind];
  const details = [errorInfo(reason, metadataOf(failure))];
  if ("violations" in failure) {
    const fieldViolations = fitViolations(failure.violations).map(({ field, description }) => ({ field, description }));
    details.push(detail(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  if ("retryAfterMs" in failure && failure.retryAfterMs !== undefined) {
    const retryDelay = durationFromMs(failure.retryAfterMs);
    details.push(detail(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  return { code, message: error.message.slice(0, MESSAGE_MAX).toWellFormed(), reason, details };
}

/** The status of a failed call, which names the call: an operator finds its log line by that. */
export function withRequestId(status: ErrorStatus, requestId: string): ErrorStatus {
  const info = detail(RequestInfoSchema, create(RequestInfoSchema, { requestId }));
  return { ...status, details: [...status.details, info] };
}

/** The status as a message: a batch item's error, and the content of grpc-status-details-bin. */
export function toStatusMessage(status: ErrorStatus): Status {
  const { code, message } = status;
  return create(StatusSchema, { code, message, details: status.details.map((d) => anyPack(d.desc, d.value)) });
}

function metadataOf(failure: MeteringFailure): Record<string, string> {
  switch (failure.kind) {
    case "idempotency_key_reused":
    case "record_not_found":
      return { customer_id: failure.customerId, idempotency_key: failure.idempotencyKey };
    case "api_key_not_found":
    case "api_key_exists":
    case "api_key_disabled":
      return { customer_id: failure.customerId, api_key_id: failure.apiKeyId };
    case "limit_reached":
      return {
        customer_id: failure.customerId,
        api_key_id: failure.apiKeyId,
        window: failure.window,
        limit: failure.limit.toString(),
        remaining: failure.remaining.toString(),
        reset_time: new Date(failure.resetMs).toISOString(),
      };
    case "access_token_not_found":
      return { token_id: failure.tokenId };
    case "scope_missing":
      return { scope: failure.scope };
    default:
      return {};
  }
}

function errorInfo(reason: keyof typeof ErrorReason, metadata: Record<string, string>): ErrorDetail {
  return detail(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: ERROR_DOMAIN, metadata }));
}

function detail<Desc extends DescMessage>(desc: Desc, value: MessageShape<Desc>): ErrorDetail {
  return { desc, value };
}

/** As many as fit, and then how many do not. */
function fitViolations(violations: readonly FieldViolation[]): readonly FieldViolation[] {
  let bytes = 0;
  for (const [i, { field, description }] of violations.entries()) {
    bytes += Buffer.byteLength(field) + Buffer.byteLength(description) + 8;
    if (bytes <= VIOLATIONS_MAX_BYTES) continue;
    const rest = { field: "", description: `and ${violations.length - i} more` };
    return [...violations.slice(0, i), rest];
  }
  return violations;
}
