// One log line a failed call, by which an operator finds what a caller complains of: the call's id is in both.
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import { RequestInfoSchema } from "../../../gen/google/rpc/error_details_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import type { Intake } from "../../../src/app/ports/intake.ts";
import { MeteringError } from "../../../src/domain/errors.ts";
import { fromConnectJson, fromServiceError, grpcClient, openStream } from "./test-client.ts";
import { startTestService } from "./test-service.ts";

const { recordUsage } = MeteringService.method;
const PATH = `${MeteringService.typeName}/${recordUsage.name}`;
const BODY = {
  record: {
    customerId: "acme",
    idempotencyKey: "k1",
    apiKeyId: "key",
    model: "SECRET-MODEL",
    measurements: [{ meter: "input_tokens", quantity: "1" }],
    labels: { prompt: "SECRET-LABEL" },
  },
};

const failingWith = (error: Error): Intake => ({ record: async () => [{ error: error as MeteringError }] });
const reused = () =>
  new MeteringError({ kind: "idempotency_key_reused", customerId: "acme", idempotencyKey: "k1" }, "used before");

async function callConnect(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}/${PATH}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(BODY),
  });
  const refusal = fromConnectJson(await response.json());
  return { header: response.headers.get("x-request-id"), info: requestInfoOf(refusal.details), refusal };
}

/** Without a body: refused as invalid. */
function callGrpc(address: string, given?: string): Promise<ServiceError> {
  const client = new Client(address, credentials.createInsecure());
  onTestFinished(() => client.close());
  const metadata = new Metadata();
  if (given !== undefined) metadata.set("x-request-id", given);
  const asIs = (bytes: Buffer) => bytes;
  return new Promise((resolve) => {
    client.makeUnaryRequest(`/${PATH}`, asIs, asIs, Buffer.alloc(0), metadata, {}, (error) => {
      if (error !== null) resolve(error);
    });
  });
}

function requestInfoOf(details: readonly { type: string; value: unknown }[]): unknown {
  return details.find(({ type }) => type === RequestInfoSchema.typeName)?.value;
}

test("a failed call is one line, with its id, what it was, how it ended, how long it took, and nothing of its content", async () => {
  const service = await startTestService({ intake: failingWith(reused()) });
  const { header, info } = await callConnect(service.connectUrl);
  expect(header).toBe("made-here");
  expect(info).toEqual({ requestId: "made-here" });
  expect(service.logged).toEqual([
    {
      level: "info",
      message: "used before",
      fields: {
        rpc: "RecordUsage",
        transport: "connect",
        code: "ALREADY_EXISTS",
        reason: "IDEMPOTENCY_KEY_REUSED",
        requestId: "made-here",
        durationMs: expect.any(Number),
        customerId: "acme",
        idempotencyKey: "k1",
      },
    },
  ]);
  expect(JSON.stringify(service.logged)).not.toContain("SECRET");
});

test("the id that the caller gave is the one in the line and in the answer, over both transports", async () => {
  const service = await startTestService({ intake: failingWith(reused()) });
  const given = "5f0c-req:7/a=b.c_d+e";
  expect(await callConnect(service.connectUrl, { "X-Request-Id": given })).toMatchObject({
    header: given,
    info: { requestId: given },
  });
  const error = await callGrpc(service.grpcAddress, given);
  expect(error.metadata.get("x-request-id")).toEqual([given]);
  expect(requestInfoOf(fromServiceError(error).details)).toEqual({ requestId: given });
  expect(service.logged.map(({ fields }) => (fields as { requestId?: string }).requestId)).toEqual([given, given]);
});

test.each(["x".repeat(129), "two words", "ünicode", '{"level":60}'])(
  "an id that may not stand in a log is not taken: %s",
  async (given) => {
    const service = await startTestService({ intake: failingWith(reused()) });
    const encoded = Buffer.from(given).toString("latin1");
    expect(await callConnect(service.connectUrl, { "x-request-id": encoded })).toMatchObject({ header: "made-here" });
    expect(JSON.stringify(service.logged)).not.toContain(given);
  },
);

test("a bug is one line too, with its cause; the caller gets the id and nothing else", async () => {
  const service = await startTestService({
    intake: { record: () => Promise.reject(new Error("the pool is made of SECRET")) },
  });
  const { info, refusal } = await callConnect(service.connectUrl);
  expect(info).toEqual({ requestId: "made-here" });
  expect(JSON.stringify(refusal)).not.toContain("SECRET");
  expect(service.logged).toHaveLength(1);
  expect(service.logged[0]).toMatchObject({
    level: "error",
    fields: { code: "INTERNAL", reason: "INTERNAL", requestId: "made-here", durationMs: expect.any(Number) },
  });
});

test("a stream that fails is a line as well", async () => {
  const service = await startTestService({ limits: { maxStreams: 0 } });
  const stream = openStream(grpcClient(service.grpcAddress));
  const error = await new Promise<ServiceError>((resolve) => stream.on("error", resolve));
  expect(error.metadata.get("x-request-id")).toEqual(["made-here"]);
  expect(service.logged).toMatchObject([
    {
      level: "warn",
      fields: {
        rpc: "StreamUsage",
        code: "RESOURCE_EXHAUSTED",
        reason: "TOO_MANY_STREAMS",
        requestId: "made-here",
        durationMs: expect.any(Number),
      },
    },
  ]);
});
