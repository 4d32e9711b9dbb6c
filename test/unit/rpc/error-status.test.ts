import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../../gen/google/rpc/status_pb.ts";
import { ErrorReason } from "../../../gen/metering/v1/usage_pb.ts";
import { type FieldViolation, MeteringError, type MeteringFailure } from "../../../src/domain/errors.ts";
import { toErrorStatus, toStatusMessage } from "../../../src/rpc/error-status.ts";

/** The status of a failure, as it leaves the process. */
function sent(error: unknown) {
  const status = fromBinary(StatusSchema, toBinary(StatusSchema, toStatusMessage(toErrorStatus(error))));
  const one = <T>(found: (T | undefined)[]) => found.filter((f) => f !== undefined);
  return {
    status,
    infos: one(status.details.map((any) => anyUnpack(any, ErrorInfoSchema))),
    bad: one(status.details.map((any) => anyUnpack(any, BadRequestSchema))),
    retries: one(status.details.map((any) => anyUnpack(any, RetryInfoSchema))),
  };
}

const violations = [{ field: "record.model", description: "is odd" }];
const retryAfterMs = 250;
const FAILURES: { [K in MeteringFailure["kind"]]: [Extract<MeteringFailure, { kind: K }>, Code] } = {
  invalid_request: [{ kind: "invalid_request", violations }, Code.INVALID_ARGUMENT],
  invalid_record: [{ kind: "invalid_record", violations }, Code.INVALID_ARGUMENT],
  unknown_meter: [{ kind: "unknown_meter", violations }, Code.INVALID_ARGUMENT],
  event_time_out_of_range: [{ kind: "event_time_out_of_range", violations }, Code.INVALID_ARGUMENT],
  idempotency_key_reused: [
    { kind: "idempotency_key_reused", customerId: "c", idempotencyKey: "k" },
    Code.ALREADY_EXISTS,
  ],
  record_not_found: [{ kind: "record_not_found", customerId: "c", idempotencyKey: "k" }, Code.NOT_FOUND],
  intake_unavailable: [{ kind: "intake_unavailable", retryAfterMs }, Code.UNAVAILABLE],
  intake_full: [{ kind: "intake_full", retryAfterMs }, Code.RESOURCE_EXHAUSTED],
  ledger_unavailable: [{ kind: "ledger_unavailable", retryAfterMs }, Code.UNAVAILABLE],
  limit_reached: [
    {
      kind: "limit_reached",
      customerId: "c",
      apiKeyId: "k",
      window: "minute",
      limit: 5n,
      remaining: 0n,
      resetMs: 60_000,
      retryAfterMs,
    },
    Code.RESOURCE_EXHAUSTED,
  ],
  limits_unknown: [{ kind: "limits_unknown", retryAfterMs }, Code.UNAVAILABLE],
  api_key_not_found: [{ kind: "api_key_not_found", customerId: "c", apiKeyId: "k" }, Code.NOT_FOUND],
  api_key_exists: [{ kind: "api_key_exists", customerId: "c", apiKeyId: "k" }, Code.ALREADY_EXISTS],
  api_key_disabled: [{ kind: "api_key_disabled", customerId: "c", apiKeyId: "k" }, Code.FAILED_PRECONDITION],
  too_many_api_keys: [{ kind: "too_many_api_keys" }, Code.RESOURCE_EXHAUSTED],
  token_expired: [{ kind: "token_expired" }, Code.OUT_OF_RANGE],
  deadline_exceeded: [{ kind: "deadline_exceeded" }, Code.DEADLINE_EXCEEDED],
  scope_missing: [{ kind: "scope_missing", scope: "s" }, Code.PERMISSION_DENIED],
  too_many_streams: [{ kind: "too_many_streams", retryAfterMs }, Code.RESOURCE_EXHAUSTED],
  reader_too_slow: [{ kind: "reader_too_slow", retryAfterMs }, Code.RESOURCE_EXHAUSTED],
  credentials_missing_or_invalid: [{ kind: "credentials_missing_or_invalid" }, Code.UNAUTHENTICATED],
  customer_not_allowed: [{ kind: "customer_not_allowed" }, Code.PERMISSION_DENIED],
  access_token_not_found: [{ kind: "access_token_not_found", tokenId: "t" }, Code.NOT_FOUND],
  too_many_access_tokens: [{ kind: "too_many_access_tokens" }, Code.RESOURCE_EXHAUSTED],
  draining: [{ kind: "draining", retryAfterMs }, Code.UNAVAILABLE],
};

describe.each(Object.values(FAILURES))("$kind", (failure, code) => {
  const { status, infos, bad, retries } = sent(new MeteringError(failure, "why", { cause: new Error("secret") }));

  test("has its code, its message, and one ErrorInfo with a reason of the contract", () => {
    expect([status.code, status.message]).toEqual([code, "why"]);
    expect(infos).toMatchObject([{ domain: "metering.v1", reason: failure.kind.toUpperCase() }]);
    expect(ErrorReason).toHaveProperty(infos[0]?.reason ?? "");
  });

  test("names fields where fields are wrong", () => {
    expect(bad.map((b) => b.fieldViolations)).toMatchObject("violations" in failure ? [violations] : []);
  });

  test("says when to come back exactly where that helps", () => {
    const helps =
      (code === Code.UNAVAILABLE || code === Code.RESOURCE_EXHAUSTED) &&
      failure.kind !== "too_many_api_keys" &&
      failure.kind !== "too_many_access_tokens";
    expect(retries.map((r) => r.retryDelay?.nanos)).toEqual(helps ? [250_000_000] : []);
  });

  test("has each detail type once", () => {
    const types = status.details.map((any) => any.typeUrl);
    expect(new Set(types).size).toBe(types.length);
  });
});

test.each([new Error("secret"), new TypeError("secret"), "secret", undefined])(
  "%s is a bug: INTERNAL, nothing told",
  (bug) => {
    const { status, infos } = sent(bug);
    expect([status.code, status.message]).toEqual([Code.INTERNAL, "internal error"]);
    expect(infos).toMatchObject([{ reason: "INTERNAL" }]);
    expect(JSON.stringify(status, (_, v) => (typeof v === "bigint" ? String(v) : v))).not.toContain("secret");
  },
);

test("what varies is in the metadata", () => {
  const reused = { kind: "idempotency_key_reused", customerId: "ü", idempotencyKey: "k" } as const;
  expect(sent(new MeteringError(reused, "")).infos[0]?.metadata).toEqual({ customer_id: "ü", idempotency_key: "k" });
  expect(sent(new MeteringError({ kind: "scope_missing", scope: "s" }, "")).infos[0]?.metadata).toEqual({ scope: "s" });
});

test("more violations than fit a trailer are cut, and counted", () => {
  const many: FieldViolation[] = Array.from({ length: 500 }, (_, i) => ({ field: `f${i}`, description: "is wrong" }));
  const error = new MeteringError({ kind: "invalid_record", violations: many }, "ü".repeat(5000));
  const { status, bad } = sent(error);
  const named = bad[0]?.fieldViolations ?? [];
  expect(named.at(-1)).toMatchObject({ field: "", description: `and ${500 - (named.length - 1)} more` });
  expect(named.length).toBeGreaterThan(100);
  // Base64 adds a third, and the message travels percent-encoded beside it: 8 KiB is what the strictest peers take.
  const details = Math.ceil((toBinary(StatusSchema, status).length * 4) / 3);
  expect(details + encodeURI(status.message).length).toBeLessThan(8000);
});
