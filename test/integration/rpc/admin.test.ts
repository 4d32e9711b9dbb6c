// AdminService over every transport: the same answers and refusals, and nothing at all where it is off.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import {
  AdminService,
  VoidOutcome,
  type VoidRecordRequestSchema,
} from "../../../gen/metering/admin/v1/admin_service_pb.ts";
import type { VoidLedger, VoidRequest, VoidResult } from "../../../src/app/ports/ledger.ts";
import { MeteringError } from "../../../src/domain/errors.ts";
import {
  callConnectJson,
  callGrpc,
  fieldsOf,
  grpcClient,
  grpcWebTransport,
  outcomeOf,
  reasonOf,
  refusalOf,
  retryDelayOf,
} from "./test-client.ts";
import { startTestService } from "./test-service.ts";

const { voidRecord } = AdminService.method;
const REQUEST = { customerId: "c", idempotencyKey: "k", reason: "a test" };
const RECORD = {
  apiKeyId: "",
  eventTimeMs: 1_000,
  measurements: [
    { meter: "input_tokens", quantity: 2n ** 40n },
    { meter: "output_tokens", quantity: 0n },
  ],
  reason: "the first one's",
  voidedAtMs: 2_500,
};

/** Gives one answer to everything, and keeps what it was asked. */
function stub(answer: () => Promise<VoidResult>): VoidLedger & { readonly asked: VoidRequest[] } {
  const asked: VoidRequest[] = [];
  return {
    asked,
    voidRecord: (request) => {
      asked.push(request);
      return answer();
    },
  };
}

/** One call by each transport. */
async function everyWay(
  voids: VoidLedger | undefined,
  request: MessageInitShape<typeof VoidRecordRequestSchema> = REQUEST,
) {
  const service = await startTestService(voids && { voids });
  return {
    service,
    outcomes: {
      grpc: await callGrpc(grpcClient(service.grpcAddress), voidRecord, request),
      connectJson: await callConnectJson(service.connectUrl, voidRecord, request),
      grpcWeb: await outcomeOf(createClient(AdminService, grpcWebTransport(service.connectUrl)).voidRecord(request)),
    },
  };
}

test.each([
  ["voided", VoidOutcome.VOIDED, "VOID_OUTCOME_VOIDED"],
  ["already_voided", VoidOutcome.ALREADY_VOIDED, "VOID_OUTCOME_ALREADY_VOIDED"],
] as const)("%s: what was taken back, and when", async (kind, outcome, name) => {
  const voids = stub(async () => ({ kind, record: RECORD }));
  const { outcomes, service } = await everyWay(voids);
  const answer = {
    outcome,
    voidedMeasurements: [
      { meter: "input_tokens", quantity: 2n ** 40n },
      { meter: "output_tokens", quantity: 0n },
    ],
    eventTime: { seconds: 1n, nanos: 0 },
    voidTime: { seconds: 2n, nanos: 500_000_000 },
    reason: "the first one's",
  };
  expect(outcomes.grpc).toMatchObject({ ok: answer });
  expect(outcomes.grpcWeb).toMatchObject({ ok: answer });
  expect(outcomes.connectJson).toEqual({
    ok: {
      outcome: name,
      voidedMeasurements: [{ meter: "input_tokens", quantity: "1099511627776" }, { meter: "output_tokens" }],
      eventTime: "1970-01-01T00:00:01Z",
      voidTime: "1970-01-01T00:00:02.500Z",
      reason: "the first one's",
    },
  });
  expect(voids.asked).toEqual([REQUEST, REQUEST, REQUEST]);
  expect(service.ended).toEqual(["VoidRecord OK", "VoidRecord OK", "VoidRecord OK"]);
});

describe("a failure is the same over gRPC, Connect JSON and gRPC-Web", () => {
  test("not found, with the ids in the details and in the log", async () => {
    const { outcomes, service } = await everyWay(stub(async () => ({ kind: "not_found" })));
    const refusal = refusalOf(outcomes.grpc);
    expect([refusal.code, reasonOf(refusal)]).toEqual(["NOT_FOUND", "RECORD_NOT_FOUND"]);
    expect(refusal.details).toMatchObject([
      { value: { metadata: { customer_id: "c", idempotency_key: "k" } } },
      { value: { requestId: "made-here" } },
    ]);
    expect(outcomes.connectJson).toEqual(outcomes.grpc);
    expect(outcomes.grpcWeb).toEqual(outcomes.grpc);
    expect(service.logged[0]).toMatchObject({
      level: "info",
      fields: { rpc: "VoidRecord", code: "NOT_FOUND", customerId: "c", idempotencyKey: "k" },
    });
  });

  test("the ledger away", async () => {
    const failure = { kind: "ledger_unavailable", retryAfterMs: 1_000 } as const;
    const { outcomes } = await everyWay(stub(() => Promise.reject(new MeteringError(failure, "later"))));
    const refusal = refusalOf(outcomes.grpc);
    expect([refusal.code, reasonOf(refusal), retryDelayOf(refusal)]).toEqual([
      "UNAVAILABLE",
      "LEDGER_UNAVAILABLE",
      "1s",
    ]);
    expect(outcomes.connectJson).toEqual(outcomes.grpc);
    expect(outcomes.grpcWeb).toEqual(outcomes.grpc);
  });

  test.each([
    [{}, ["customer_id", "idempotency_key", "reason"]],
    [{ ...REQUEST, idempotencyKey: "a b" }, ["idempotency_key"]],
    [{ ...REQUEST, customerId: "ä".repeat(129), reason: "x".repeat(501) }, ["customer_id", "reason"]],
    [{ ...REQUEST, reason: "a\0b" }, ["reason"]],
  ])("bad input %#, every field named, and the ledger not asked", async (request, fields) => {
    const voids = stub(async () => ({ kind: "not_found" }));
    const { outcomes } = await everyWay(voids, request);
    const refusal = refusalOf(outcomes.grpc);
    expect([refusal.code, reasonOf(refusal), fieldsOf(refusal)]).toEqual([
      "INVALID_ARGUMENT",
      "INVALID_REQUEST",
      fields,
    ]);
    expect(outcomes.connectJson).toEqual(outcomes.grpc);
    expect(outcomes.grpcWeb).toEqual(outcomes.grpc);
    expect(voids.asked).toEqual([]);
  });

  test("what is just within bounds is taken", async () => {
    const request = { customerId: "ä".repeat(128), idempotencyKey: "k".repeat(128), reason: "ä".repeat(500) };
    const voids = stub(async () => ({ kind: "voided", record: RECORD }));
    expect((await everyWay(voids, request)).outcomes.grpc).toHaveProperty("ok");
  });
});

test("off, it is not there", async () => {
  const { outcomes } = await everyWay(undefined);
  for (const outcome of [outcomes.grpc, outcomes.connectJson, outcomes.grpcWeb])
    expect(refusalOf(outcome)).toMatchObject({ code: "UNIMPLEMENTED", details: [] });
});
