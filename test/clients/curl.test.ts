// curl speaks Connect: JSON over plain HTTP.
import { afterAll, beforeAll, expect, type TestContext, test, vi } from "vitest";
import { runCommand } from "../support/command.ts";
import { type RunningService, startService } from "../support/service.ts";
import { startTlsService } from "../support/tls-service.ts";
import { findCurl, requireTool, runTool, type Tool } from "./tools.ts";

let tool: Tool;
let running: RunningService;

beforeAll(async () => {
  tool = await findCurl();
  running = await startService({ intake: "postgres" });
});
afterAll(() => running?.close());

test("records, reads and streams", async (context) => {
  const measurements = [{ meter: "output_tokens", quantity: "350" }];
  const record = { idempotencyKey: "call-1", customerId: "curl", apiKeyId: "key_1", measurements };
  const first = await post(context, "RecordUsage", { record });
  expect(first).toMatchObject({ status: 200, body: { outcome: "RECORD_OUTCOME_RECORDED" } });
  const second = await post(context, "RecordUsage", { record });
  expect(second).toMatchObject({ status: 200, body: { outcome: "RECORD_OUTCOME_DUPLICATE" } });

  const { consistencyToken } = first.body;
  const question = { customerId: "curl", groupBy: ["USAGE_DIMENSION_API_KEY"], consistencyToken };
  const read = await post(context, "GetUsage", question);
  expect(read.body).toMatchObject({ tokensUsed: "350", requests: "1" });
  expect(read.body.totals[0]).toMatchObject({ meter: "output_tokens", apiKeyId: "key_1", quantity: "350" });

  const [snapshot, ...rest] = await stream(context, { customerId: "curl", heartbeatInterval: "1s" });
  expect(snapshot).toMatchObject({ snapshot: { totals: [{ meter: "output_tokens", quantity: "350" }, {}] } });
  expect(rest[0]).toMatchObject({ heartbeat: {} });
});

test("reads by GET, as a cache in between could", async (context) => {
  const query = new URLSearchParams({ connect: "v1", encoding: "json", message: '{"customerId":"nobody"}' });
  const { status, body } = await curl(context, `${url("GetUsage")}?${query}`);
  expect(status).toBe(200);
  expect(body.totals ?? []).toEqual([]);
});

test("is told everything that is wrong with a record", async (context) => {
  const record = { customerId: "curl", measurements: [{ meter: "input_tokens", quantity: "-1" }] };
  const { status, body } = await post(context, "RecordUsage", { record });
  expect(status).toBe(400);
  expect(body.code).toBe("invalid_argument");
  const badRequest = body.details.find((detail: { type: string }) => detail.type === "google.rpc.BadRequest");
  const fields = Buffer.from(badRequest.value, "base64").toString("latin1");
  expect(fields).toContain("record.idempotency_key");
  expect(fields).toContain("record.measurements[0].quantity");
});

test("by TLS with a token, which curl takes from a file and not from its arguments", {
  timeout: 180_000,
}, async (context) => {
  const path = requireTool(tool, context);
  const service = await startTlsService(() => ({ METERING_AUTH: "tokens" }));
  context.onTestFinished(() => service.close());
  const args = ["tokens", "create", "curl", "--scopes", "read", "--customers", "curl", "--json"];
  const { secret } = JSON.parse((await runCommand(args, service.environment)).stdout);
  service.write("headers", `authorization: Bearer ${secret}\n`);
  const read = async (...more: string[]) => {
    const address = `https://localhost:${service.ports.http}/metering.v1.MeteringService/GetUsage`;
    const json = ["-H", "content-type: application/json", "-d", '{"customerId":"curl"}'];
    return runTool(path, ["-sS", "-o", "-", "-w", "\n%{http_code}", ...json, ...more, address]);
  };
  const trusting = ["--cacert", service.path("ca.pem")];
  await vi.waitFor(
    async () => {
      const { stdout } = await read(...trusting, "-H", `@${service.path("headers")}`);
      expect(stdout.toString()).toMatch(/\n200$/);
    },
    { timeout: 60_000, interval: 200 },
  );
  expect((await read(...trusting)).stdout.toString()).toMatch(/\n401$/);
  // Not trusted: curl's exit code 60.
  expect((await read()).exitCode).toBe(60);
});

function url(rpc: string): string {
  return `${running.service.api.httpUrl}/metering.v1.MeteringService/${rpc}`;
}

function post(context: TestContext, rpc: string, request: object) {
  return curl(context, "-H", "content-type: application/json", "-d", JSON.stringify(request), url(rpc));
}

async function curl(context: TestContext, ...args: string[]) {
  const { exitCode, stdout, stderr } = await runTool(requireTool(tool, context), [
    "-sS",
    "-w",
    "\n%{http_code}",
    ...args,
  ]);
  expect(exitCode, stderr).toBe(0);
  const [body = "", status] = stdout.toString().split(/\n(?=\d+$)/);
  return { status: Number(status), body: JSON.parse(body) };
}

/** Messages of two seconds. Each stands behind a byte of flags and four of length, both ways. */
async function stream(context: TestContext, request: object): Promise<Record<string, unknown>[]> {
  const message = Buffer.from(JSON.stringify(request));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  const args = ["-sSN", "--max-time", "2.5", "-H", "content-type: application/connect+json", "--data-binary", "@-"];
  const input = Buffer.concat([head, message]);
  const { stdout } = await runTool(requireTool(tool, context), [...args, url("StreamUsage")], { input });
  const messages: Record<string, unknown>[] = [];
  for (let at = 0; at + 5 <= stdout.length; ) {
    const length = stdout.readUInt32BE(at + 1);
    messages.push(JSON.parse(stdout.toString("utf8", at + 5, at + 5 + length)));
    at += 5 + length;
  }
  return messages;
}
