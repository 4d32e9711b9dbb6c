// What a token of one customer can do with what belongs to another: its records, and the tokens that it was given on the way.
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RecordOutcome } from "../../../gen/metering/v1/metering_service_pb.ts";
import { CallFailure, MeteringClient } from "../../../src/rpc/client.ts";
import { testClock } from "../../support/clock.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { type RunningService, type Service, startService } from "../../support/service.ts";
import { connectClient, eventually, makeToken } from "./calls.ts";

const environment = { METERING_AUTH: "tokens" };

function record(customerId: string, idempotencyKey: string, apiKeyId = "") {
  return { customerId, idempotencyKey, apiKeyId, measurements: [{ meter: "input_tokens", quantity: 7n }] };
}

async function failure(call: Promise<unknown>): Promise<{ code: Code; message: string }> {
  const error = await call.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof ConnectError)) throw new Error(`not refused, but ${error}`);
  return { code: error.code, message: error.rawMessage };
}

let running: RunningService;
let service: Service;
let acme: string;
let globex: string;
let everyone: string;

beforeAll(async () => {
  running = await startService({ intake: "postgres", processes: ["api,drain"], environment });
  service = running.service;
  const scopes = "record,read";
  acme = (await makeToken(service, scopes, "--customers", "acme")).secret;
  globex = (await makeToken(service, scopes, "--customers", "globex")).secret;
  everyone = (await makeToken(service, scopes, "--all-customers")).secret;
}, 120_000);
afterAll(() => running.close());

test("a batch with a record of another customer: that record alone is refused, over gRPC", async () => {
  const client = new MeteringClient(service.api.grpcTarget, testClock(), { token: acme });
  const batch = [
    record("acme", "batch-1"),
    record("initech", "batch-2"),
    record("nobody", ""),
    record("acme", "batch-3"),
  ];
  const results = await client.batchRecordUsage(batch, 30_000);
  client.close();
  const told = results.map((result) => (result instanceof CallFailure ? [result.code, result.reason] : "recorded"));
  const refused = ["PERMISSION_DENIED", "CUSTOMER_NOT_ALLOWED"];
  // Also where something else is wrong with it: nothing of it was looked at.
  expect(told).toEqual(["recorded", refused, refused, "recorded"]);
  await nothingOf("initech", "batch-2");
});

test("and over Connect, where it comes alone", async () => {
  const requests = [{ record: record("umbrella", "batch-4") }, {}];
  const { results } = await connectClient(service, acme).batchRecordUsage({ requests });
  expect(results.map(({ result }) => result.case === "error" && result.value.code)).toEqual([7, 7]);
  await nothingOf("umbrella", "batch-4");
});

/** Neither its sum nor its key is there: who may record it does so for the first time. */
async function nothingOf(customerId: string, idempotencyKey: string): Promise<void> {
  const client = connectClient(service, everyone);
  expect(await client.getUsage({ customerId })).toMatchObject({ requests: 0n, tokensUsed: 0n });
  const { outcome } = await client.recordUsage({ record: record(customerId, idempotencyKey) });
  expect(outcome).toBe(RecordOutcome.RECORDED);
}

test("page tokens of one customer are nothing to another", async () => {
  const [ours, theirs] = [connectClient(service, acme), connectClient(service, globex)];
  for (const key of ["k1", "k2"]) await ours.recordUsage({ record: record("acme", `page-${key}`, key) });
  const question = { customerId: "acme", pageSize: 1 };
  const { nextPageToken } = await ours.getUsage(question);
  expect(nextPageToken).not.toBe("");
  expect((await ours.getUsage({ ...question, pageToken: nextPageToken })).totals).toHaveLength(1);
  const stolen = { ...question, pageToken: nextPageToken };
  expect(await failure(theirs.getUsage(stolen))).toMatchObject({ code: Code.PermissionDenied });
  expect(await failure(theirs.getUsage({ ...stolen, customerId: "globex" }))).toEqual({
    code: Code.InvalidArgument,
    message: "page_token: belongs to a request with other fields; only page_size may change between pages",
  });
});

test("resume tokens of one customer are nothing to another", async () => {
  const resumeToken = await firstResumeToken(acme, { customerId: "acme" });
  const theirs = (request: { customerId: string }) => firstResumeToken(globex, { ...request, resumeToken });
  expect(await failure(theirs({ customerId: "acme" }))).toMatchObject({ code: Code.PermissionDenied });
  expect(await failure(theirs({ customerId: "globex" }))).toEqual({
    code: Code.InvalidArgument,
    message: "resume_token belongs to a request with other fields",
  });
  // Of all customers, which one customer's token must not become.
  expect(await failure(theirs({ customerId: "" }))).toMatchObject({ code: Code.PermissionDenied });
});

async function firstResumeToken(token: string, request: { customerId: string; resumeToken?: Uint8Array }) {
  for await (const event of connectClient(service, token).streamUsage(request)) {
    if (event.resumeToken.length > 0) return event.resumeToken;
  }
  throw new Error("the stream ended");
}

describeWithRedis("with Redis", () => {
  test("consistency tokens of one customer tell another nothing", { timeout: 120_000 }, async ({ onTestFinished }) => {
    const redis = await startService({ intake: "redis", processes: ["api,drain"], environment });
    onTestFinished(() => redis.close());
    const names = Array.from({ length: 40 }, (_, i) => `customer-${i}`);
    const token = (await makeToken(redis.service, "record,read", "--customers", ["acme", ...names].join(","))).secret;
    const outsider = (await makeToken(redis.service, "read", "--customers", names.join(","))).secret;
    const [client, theirs] = [connectClient(redis.service, token), connectClient(redis.service, outsider)];
    const { consistencyToken } = await client.recordUsage({ record: record("acme", "1") });
    await eventually(async () => {
      const { tokensUsed } = await client.getUsage({ customerId: "acme", consistencyToken });
      expect(tokensUsed).toBe(7n);
    });
    expect(await failure(theirs.getUsage({ customerId: "acme", consistencyToken }))).toMatchObject({
      code: Code.PermissionDenied,
    });
    const answers = await Promise.all(
      names.map((customerId) =>
        theirs.getUsage({ customerId, consistencyToken }).then(
          ({ tokensUsed }) => `${tokensUsed}`,
          (error: ConnectError) => error.rawMessage,
        ),
      ),
    );
    // Who shares the shard waits for what the shard holds, and reads its own; others are refused.
    const refused = "consistency_token: belongs to another customer's record";
    expect(new Set(answers)).toEqual(new Set(["0", refused]));
  });
});
