// A call that its caller traces is seen from end to end: at the edge, in the intake, in the drain. Real processes, a real collector.
import { expect, test } from "vitest";
import { describeWithRedis } from "../../support/redis.ts";
import { type Service, startService } from "../../support/service.ts";
import { attributesOf, type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from "./otlp-receiver.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = "00f067aa0ba902b7";
const SAMPLED = `00-${TRACE}-${CALLER}-01`;
const WAIT = { timeout: 60_000 };

/** Records by Connect. */
async function record(service: Service, idempotencyKey: string, traceparent?: string, model = "SECRET-MODEL") {
  const eventTime = new Date(Date.now() - 120_000).toISOString();
  const measurements = [{ meter: "input_tokens", quantity: "1" }];
  return await fetch(`${service.api.httpUrl}/metering.v1.MeteringService/RecordUsage`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(traceparent !== undefined && { traceparent }) },
    body: JSON.stringify({ record: { customerId: "cus_traced", idempotencyKey, model, eventTime, measurements } }),
  });
}

const named = (receiver: OtlpReceiver, name: string) => receiver.spans.filter((span) => span.name === name);
const ofTrace = (receiver: OtlpReceiver, name: string) =>
  named(receiver, name).filter(({ traceId }) => traceId === TRACE);

async function startTraced(intake: "redis" | "postgres", receiver: OtlpReceiver, ratio = "0") {
  return await startService({
    intake,
    environment: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20SECRET-TOKEN",
      METERING_TRACE_RATIO: ratio,
    },
  });
}

describeWithRedis("with Redis", () => {
  test("a traced call: edge, intake, drain; the flush has traces of its own", { timeout: 240_000 }, async ({
    onTestFinished,
  }) => {
    const receiver = await startOtlpReceiver();
    const { service, close } = await startTraced("redis", receiver);
    onTestFinished(close);
    for (let n = 0; n < 20; n++) expect((await record(service, `untraced-${n}`)).status).toBe(200);
    expect((await record(service, "not-sampled", `00-${"a".repeat(32)}-${CALLER}-00`)).status).toBe(200);
    expect((await record(service, "traced", SAMPLED)).status).toBe(200);
    await expect.poll(() => ofTrace(receiver, "drain").length, WAIT).toBe(1);
    await expect.poll(() => ofTrace(receiver, "intake").length, WAIT).toBe(1);
    await expect.poll(() => named(receiver, "drain batch").length, WAIT).toBe(1);
    const [call, intake, drain] = ["RecordUsage", "intake", "drain"].map((name) => ofTrace(receiver, name)[0]);
    const [batch] = named(receiver, "drain batch");
    expect(call?.parentSpanId).toBe(CALLER);
    expect(attributesOf(call as ReceivedSpan)).toMatchObject({ "rpc.method": "RecordUsage", "rpc.status": "OK" });
    expect(intake?.parentSpanId).toBe(call?.spanId);
    expect(drain?.parentSpanId).toBe(call?.spanId);
    // The transaction belongs to no call's trace; the two point at each other.
    expect(batch?.traceId).not.toBe(TRACE);
    expect(batch?.links).toMatchObject([{ traceId: TRACE, spanId: call?.spanId }]);
    expect(drain?.links).toMatchObject([{ traceId: batch?.traceId, spanId: batch?.spanId }]);
    expect(BigInt(drain?.startTimeUnixNano ?? 0)).toBeGreaterThan(BigInt(call?.startTimeUnixNano ?? 0));
    // Whom the caller does not trace, nobody does.
    expect(named(receiver, "RecordUsage")).toHaveLength(1);
    // Reports are sums over many calls: rounds of sends, each a trace of its own.
    await expect.poll(() => named(receiver, "send v1").length, WAIT).toBeGreaterThan(0);
    const [send] = named(receiver, "send v1");
    await expect
      .poll(() => named(receiver, "flush round").some(({ spanId }) => spanId === send?.parentSpanId), WAIT)
      .toBe(true);
    expect(receiver.headers["authorization"]).toBe("Bearer SECRET-TOKEN");
    // Ids and counts alone leave the service.
    expect(receiver.bodies.join("\n")).not.toContain("SECRET");
  });
});

test("a failed call is in its trace and in the log under the same ids; a share of the others is traced", {
  timeout: 240_000,
}, async ({ onTestFinished }) => {
  const receiver = await startOtlpReceiver();
  const { service, close } = await startTraced("postgres", receiver, "1");
  onTestFinished(close);
  expect((await record(service, "k", SAMPLED)).status).toBe(200);
  const refused = await record(service, "k", SAMPLED, "another");
  expect(refused.status).toBe(409);
  expect((await record(service, "by-chance", "00-garbage")).status).toBe(200);
  await expect.poll(() => named(receiver, "RecordUsage").length, WAIT).toBe(3);
  const failed = ofTrace(receiver, "RecordUsage")
    .map(attributesOf)
    .find((attributes) => attributes["rpc.status"] !== "OK");
  const requestId = refused.headers.get("x-request-id");
  expect(failed).toMatchObject({
    "rpc.status": "ALREADY_EXISTS",
    "error.reason": "IDEMPOTENCY_KEY_REUSED",
    "request.id": requestId,
  });
  const line = service.api.log.split("\n").find((text) => text.includes(String(requestId))) ?? "{}";
  expect(JSON.parse(line)).toMatchObject({ requestId, traceId: TRACE, reason: "IDEMPOTENCY_KEY_REUSED" });
  // Without Redis nothing is drained: the intake's commit is the ledger's.
  expect(ofTrace(receiver, "intake")).toHaveLength(2);
});

test("a collector that is away costs one line, not the service, nor its end", { timeout: 240_000 }, async ({
  onTestFinished,
}) => {
  const receiver = await startOtlpReceiver();
  receiver.failing = true;
  const { service, close } = await startTraced("postgres", receiver, "1");
  onTestFinished(close);
  expect((await record(service, "k1")).status).toBe(200);
  await expect.poll(() => service.api.log.match(/traces cannot be sent/g)?.length ?? 0, WAIT).toBe(1);
  expect((await record(service, "k2")).status).toBe(200);
  expect(await service.api.signal("SIGTERM")).toBe(0);
  expect(service.api.log.match(/traces cannot be sent/g)).toHaveLength(1);
});
