// grpcurl knows nothing of the service but what reflection tells it.
import { afterAll, beforeAll, expect, type TestContext, test, vi } from "vitest";
import { runCommand } from "../support/command.ts";
import { type RunningService, startService } from "../support/service.ts";
import { startTlsService } from "../support/tls-service.ts";
import { findGrpcurl, requireTool, runTool, type Tool } from "./tools.ts";

let tool: Tool;
let running: RunningService;

beforeAll(async () => {
  tool = await findGrpcurl();
}, 600_000);
beforeAll(async () => {
  running = await startService({ intake: "postgres" });
});
afterAll(() => running?.close());

test("lists the services", async (context) => {
  const { stdout } = await grpcurl(context, "list");
  const services = ["grpc.health.v1.Health", "metering.v1.MeteringService"];
  expect(stdout.split("\n")).toEqual(expect.arrayContaining(services));
});

test("describes the service and its messages", async (context) => {
  const service = await grpcurl(context, "describe", "metering.v1.MeteringService");
  for (const rpc of ["RecordUsage", "BatchRecordUsage", "GetUsage", "StreamUsage"])
    expect(service.stdout).toContain(`rpc ${rpc} (`);
  const record = await grpcurl(context, "describe", "metering.v1.UsageRecord");
  expect(record.stdout).toContain("string idempotency_key = 1;");
});

test("asks for health", async (context) => {
  const { stdout } = await call(context, {}, "grpc.health.v1.Health/Check");
  expect(JSON.parse(stdout)).toEqual({ status: "SERVING" });
});

test("records, reads and streams", async (context) => {
  const record = {
    idempotency_key: "call-1",
    customer_id: "grpcurl",
    model: "openai/gpt-5",
    measurements: [{ meter: "input_tokens", quantity: 1200 }],
  };
  const outcomes = [];
  for (const _ of [1, 2]) {
    const { stdout } = await call(context, { record }, "metering.v1.MeteringService/RecordUsage");
    outcomes.push(JSON.parse(stdout).outcome);
  }
  expect(outcomes).toEqual(["RECORD_OUTCOME_RECORDED", "RECORD_OUTCOME_DUPLICATE"]);

  const read = await call(context, { customer_id: "grpcurl" }, "metering.v1.MeteringService/GetUsage");
  expect(JSON.parse(read.stdout)).toMatchObject({ tokensUsed: "1200", requests: "1" });

  const question = { customer_id: "grpcurl", heartbeat_interval: "1s" };
  const stream = await call(context, question, "metering.v1.MeteringService/StreamUsage", "-max-time", "3");
  expect(stream.stdout).toMatch(/"snapshot": \{[\s\S]*"quantity": "1200"[\s\S]*"heartbeat": \{/);
});

test("is told everything that is wrong with a record", async (context) => {
  const record = { customer_id: "grpcurl", measurements: [{ meter: "input_tokens", quantity: -1 }] };
  const { stderr, exitCode } = await call(context, { record }, "metering.v1.MeteringService/RecordUsage");
  expect(exitCode).not.toBe(0);
  expect(stderr).toContain("Code: InvalidArgument");
  for (const detail of ["INVALID_RECORD", "record.idempotency_key", "record.measurements[0].quantity"])
    expect(stderr).toContain(detail);
});

test("by TLS with a token out of its environment, where reflection is switched on", {
  timeout: 180_000,
}, async (context) => {
  const path = requireTool(tool, context);
  const settings = { METERING_AUTH: "tokens", METERING_GRPC_REFLECTION: "true" };
  const service = await startTlsService(() => settings);
  context.onTestFinished(() => service.close());
  const args = ["tokens", "create", "grpcurl", "--scopes", "read", "--customers", "grpcurl", "--json"];
  const { secret } = JSON.parse((await runCommand(args, service.environment)).stdout);
  const read = (...more: string[]) => {
    const flags = ["-cacert", service.path("ca.pem"), ...more, "-d", '{"customer_id":"grpcurl"}'];
    const rpc = [`localhost:${service.ports.grpc}`, "metering.v1.MeteringService/GetUsage"];
    return runTool(path, [...flags, ...rpc], { environment: { METERING_TOKEN: secret } });
  };
  await vi.waitFor(
    async () => {
      // grpcurl fills in the environment's value itself, so that it is in no list of processes.
      const { exitCode, stderr } = await read("-expand-headers", "-H", "authorization: Bearer \u0024{METERING_TOKEN}");
      expect(exitCode, stderr).toBe(0);
    },
    { timeout: 60_000, interval: 200 },
  );
  expect((await read()).stderr).toContain("Code: Unauthenticated");
});

function call(context: TestContext, request: object, method: string, ...flags: string[]) {
  return grpcurl(context, ...flags, "-d", JSON.stringify(request), method);
}

async function grpcurl(context: TestContext, ...args: string[]) {
  const path = requireTool(tool, context);
  // Flags come before the address, commands and methods after it.
  const flags = args.findLastIndex((arg, i) => arg.startsWith("-") || args[i - 1]?.startsWith("-") === true) + 1;
  const target = running.service.api.grpcTarget;
  const result = await runTool(path, ["-plaintext", ...args.slice(0, flags), target, ...args.slice(flags)]);
  return { ...result, stdout: result.stdout.toString() };
}
