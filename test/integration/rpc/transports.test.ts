// The same answers and the same refusals, whichever way a caller comes in.
import { connect as openHttp2 } from "node:http2";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { MeteringService, type RecordUsageRequestSchema } from "../../../gen/metering/v1/metering_service_pb.ts";
import { MeteringError, type MeteringFailure } from "../../../src/domain/errors.ts";
import {
  callConnectJson,
  callGrpc,
  fromConnectJson,
  grpcClient,
  grpcWebClient,
  type Outcome,
  outcomeOf,
  reasonOf,
  refusalOf,
  retryDelayOf,
} from "./test-client.ts";
import { EMPTY_ANSWER, startTestService } from "./test-service.ts";

const { recordUsage, getUsage } = MeteringService.method;
const RECORD_URL = "/metering.v1.MeteringService/RecordUsage";

function record(idempotencyKey: string, customerId = "c"): MessageInitShape<typeof RecordUsageRequestSchema> {
  return { record: { idempotencyKey, customerId, measurements: [{ meter: "input_tokens", quantity: 1n }] } };
}

/** One call by each transport. */
async function everyWay(
  service: Awaited<ReturnType<typeof startTestService>>,
  request: MessageInitShape<typeof RecordUsageRequestSchema>,
): Promise<{ grpc: Outcome<unknown>; connectJson: Outcome<unknown>; grpcWeb: Outcome<unknown> }> {
  return {
    grpc: await callGrpc(grpcClient(service.grpcAddress), recordUsage, request),
    connectJson: await callConnectJson(service.connectUrl, recordUsage, request),
    grpcWeb: await outcomeOf(grpcWebClient(service.connectUrl).recordUsage(request)),
  };
}

describe("a failure is the same over gRPC, Connect JSON and gRPC-Web", () => {
  const retryAfterMs = 1500;
  const failures: [failure: MeteringFailure, code: string, reason: string][] = [
    [
      { kind: "idempotency_key_reused", customerId: "ä", idempotencyKey: "k" },
      "ALREADY_EXISTS",
      "IDEMPOTENCY_KEY_REUSED",
    ],
    [{ kind: "intake_unavailable", retryAfterMs }, "UNAVAILABLE", "INTAKE_UNAVAILABLE"],
    [{ kind: "intake_full", retryAfterMs }, "RESOURCE_EXHAUSTED", "INTAKE_FULL"],
    [{ kind: "ledger_unavailable", retryAfterMs }, "UNAVAILABLE", "LEDGER_UNAVAILABLE"],
    [{ kind: "token_expired" }, "OUT_OF_RANGE", "TOKEN_EXPIRED"],
    [{ kind: "draining", retryAfterMs }, "UNAVAILABLE", "DRAINING"],
  ];

  test.each(failures)("$kind", async (failure, code, reason) => {
    const error = new MeteringError(failure, "told to the caller", { cause: new Error("kept from the caller") });
    const service = await startTestService({ intake: { record: async () => [{ error }] } });
    const outcomes = await everyWay(service, record("k"));
    const refusal = refusalOf(outcomes.grpc);
    expect([refusal.code, refusal.message, reasonOf(refusal)]).toEqual([code, "told to the caller", reason]);
    expect(retryDelayOf(refusal)).toBe("retryAfterMs" in failure ? "1.500s" : undefined);
    expect(outcomes.connectJson).toEqual(outcomes.grpc);
    expect(outcomes.grpcWeb).toEqual(outcomes.grpc);
    expect(service.logged).toHaveLength(3);
    expect(service.logged[0]).toMatchObject({
      fields: { rpc: "RecordUsage", transport: "grpc", code, reason, customerId: "c", idempotencyKey: "k" },
    });
    expect(service.ended).toEqual(Array(3).fill(`RecordUsage ${code}`));
    expect(service.recordsEnded).toEqual(Array(3).fill(reason));
  });

  test("bad input, with its field paths", async () => {
    const service = await startTestService();
    const outcomes = await everyWay(service, record("", "\0"));
    // ErrorInfo, BadRequest, RequestInfo.
    expect(refusalOf(outcomes.grpc).details).toHaveLength(3);
    expect(outcomes.connectJson).toEqual(outcomes.grpc);
    expect(outcomes.grpcWeb).toEqual(outcomes.grpc);
  });

  test("a bug: INTERNAL outside, its cause in the log alone", async () => {
    const bug = new Error("password=hunter2");
    const service = await startTestService({ intake: { record: () => Promise.reject(bug) } });
    const outcomes = await everyWay(service, record("k"));
    for (const outcome of Object.values(outcomes)) {
      const refusal = refusalOf(outcome);
      expect([refusal.code, refusal.message, reasonOf(refusal)]).toEqual(["INTERNAL", "internal error", "INTERNAL"]);
      expect(JSON.stringify(refusal)).not.toContain("hunter2");
    }
    expect(service.logged.map((line) => [line.level, line.fields.err])).toEqual(Array(3).fill(["error", bug]));
  });
});

test("a success is the same over gRPC, Connect JSON and gRPC-Web", async () => {
  const outcomes = await everyWay(await startTestService(), record("k"));
  expect(outcomes).toMatchObject({
    grpc: { ok: { outcome: 1 } },
    connectJson: { ok: { outcome: "RECORD_OUTCOME_DUPLICATE", consistencyToken: expect.stringMatching(/./) } },
    grpcWeb: { ok: { outcome: 2 } },
  });
});

describe("gRPC", () => {
  test("refuses an unknown method", async () => {
    const client = grpcClient((await startTestService()).grpcAddress);
    const unknown = { ...getUsage, name: "Nothing" } as typeof getUsage;
    expect(refusalOf(await callGrpc(client, unknown, {}))).toMatchObject({ code: "UNIMPLEMENTED" });
  });

  test("refuses a message over 1 MiB", async () => {
    const client = grpcClient((await startTestService()).grpcAddress);
    const refusal = refusalOf(await callGrpc(client, recordUsage, record("k".repeat(1_048_576))));
    expect(refusal.code).toBe("RESOURCE_EXHAUSTED");
    expect(refusal.message).toMatch(/larger than max/);
    expect(retryDelayOf(refusal)).toBeUndefined();
  });

  test("refuses what is no message", async () => {
    const client = grpcClient((await startTestService()).grpcAddress);
    const refusal = refusalOf(await callGrpc(client, recordUsage, Buffer.from([0x0a, 0x7f])));
    expect([refusal.code, reasonOf(refusal)]).toEqual(["INVALID_ARGUMENT", "INVALID_REQUEST"]);
  });

  test("refuses another content type", async () => {
    const { grpcAddress } = await startTestService();
    const session = openHttp2(`http://${grpcAddress}`);
    const request = session.request({ ":method": "POST", ":path": RECORD_URL, "content-type": "text/plain" });
    request.end("hello");
    const status = await new Promise((resolve) => request.on("response", (headers) => resolve(headers[":status"])));
    session.destroy();
    expect(status).toBe(415);
  });
});

describe("Connect", () => {
  const json = { "content-type": "application/json" };

  test("answers GET where a call has no side effects", async () => {
    const readUsage = { getUsage: async () => ({ ...EMPTY_ANSWER, tokensUsed: 2n ** 60n }) };
    const { connectUrl } = await startTestService({ readUsage });
    const message = encodeURIComponent(JSON.stringify({ customerId: "c" }));
    const url = `${connectUrl}/metering.v1.MeteringService/GetUsage?connect=v1&encoding=json&message=${message}`;
    const response = await fetch(url);
    expect([response.status, await response.json()]).toMatchObject([200, { tokensUsed: "1152921504606846976" }]);
  });

  test("refuses GET where a call has side effects", async () => {
    const { connectUrl } = await startTestService();
    expect((await fetch(connectUrl + RECORD_URL)).status).toBe(405);
  });

  test.each(["/", "/metering.v1.MeteringService/Nothing", "/metering.v1.Other/RecordUsage"])(
    "has nothing at %s",
    async (path) => {
      const { connectUrl } = await startTestService();
      const response = await fetch(connectUrl + path, { method: "POST", headers: json, body: "{}" });
      expect([response.status, response.headers.get("content-type")]).toEqual([404, "application/json"]);
      expect(await response.json()).toMatchObject({ code: "unimplemented" });
    },
  );

  test("refuses a body over 1 MiB", async () => {
    const { connectUrl } = await startTestService();
    const body = JSON.stringify({ record: { idempotencyKey: "k".repeat(1_048_576) } });
    const response = await fetch(connectUrl + RECORD_URL, { method: "POST", headers: json, body });
    expect([response.status, fromConnectJson(await response.json()).code]).toEqual([429, "RESOURCE_EXHAUSTED"]);
  });

  test.each(["{", '{"record": 1}', '{"record": {"measurements": [{"quantity": 1.5}]}}'])("refuses %s", async (body) => {
    const { connectUrl } = await startTestService();
    const response = await fetch(connectUrl + RECORD_URL, { method: "POST", headers: json, body });
    expect([response.status, fromConnectJson(await response.json()).code]).toEqual([400, "INVALID_ARGUMENT"]);
  });

  test("refuses a lone surrogate, which no store can keep", async () => {
    const { connectUrl } = await startTestService();
    const body =
      '{"record": {"idempotencyKey": "k", "customerId": "\\ud800", "measurements": [{"meter": "input_tokens"}]}}';
    const response = await fetch(connectUrl + RECORD_URL, { method: "POST", headers: json, body });
    expect(response.status).toBe(400);
  });
});
