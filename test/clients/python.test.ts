// A client in another language, on stubs made from the proto files by that language's own tools.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, type TestContext, test, vi } from "vitest";
import { runCommand } from "../support/command.ts";
import { type RunningService, startService } from "../support/service.ts";
import { startTlsService } from "../support/tls-service.ts";
import { findPython, ROOT, requireTool, runTool, type Tool } from "./tools.ts";

const GOOGLE_PROTOS = join(ROOT, "node_modules", "google-proto-files");
const SOURCES = [
  "metering/v1/metering_service.proto",
  "metering/v1/usage.proto",
  "google/rpc/status.proto",
  "google/rpc/error_details.proto",
];

const CLIENT = join(ROOT, "test/clients/python/client.py");

let tool: Tool;
let running: RunningService;

beforeAll(async () => {
  tool = await findPython();
}, 600_000);
beforeAll(async () => {
  running = await startService({ intake: "postgres" });
});
afterAll(() => running?.close());

test("Python records, reads, streams, and is told what is wrong", async (context) => {
  const python = requireTool(tool, context);
  const environment = { PYTHONPATH: await makeStubs(python, context) };
  expectSteps(await runTool(python, [CLIENT, running.service.api.grpcTarget], { environment }));
});

test("and so by TLS with a token", { timeout: 180_000 }, async (context) => {
  const python = requireTool(tool, context);
  const environment = { PYTHONPATH: await makeStubs(python, context) };
  const service = await startTlsService(() => ({ METERING_AUTH: "tokens" }));
  context.onTestFinished(() => service.close());
  const args = ["tokens", "create", "python", "--scopes", "record,read", "--customers", "python", "--json"];
  const { secret } = JSON.parse((await runCommand(args, service.environment)).stdout);
  const client = [CLIENT, `localhost:${service.ports.grpc}`, service.path("ca.pem")];
  const stranger = await runTool(python, client, { environment });
  expect(stranger.stderr).toContain("StatusCode.UNAUTHENTICATED");
  // A token is known to every process within two seconds.
  await vi.waitFor(
    async () => {
      const told = await runTool(python, client, { environment: { ...environment, METERING_TOKEN: secret } });
      expect(told.stderr).not.toContain("StatusCode.UNAUTHENTICATED");
      expectSteps(told);
    },
    { timeout: 60_000, interval: 200 },
  );
});

/** Stubs made from the proto files, in a folder that goes when the test ends. */
async function makeStubs(python: string, context: TestContext): Promise<string> {
  const out = mkdtempSync(join(tmpdir(), "metering-test-python-"));
  context.onTestFinished(() => rmSync(out, { recursive: true, force: true }));
  const includes = [`-I${join(ROOT, "proto")}`, `-I${GOOGLE_PROTOS}`];
  const outputs = [`--python_out=${out}`, `--grpc_python_out=${out}`];
  const made = await runTool(python, ["-m", "grpc_tools.protoc", ...includes, ...outputs, ...SOURCES]);
  expect(made.exitCode, made.stderr).toBe(0);
  return out;
}

function expectSteps({ exitCode, stdout, stderr }: Awaited<ReturnType<typeof runTool>>): void {
  expect(exitCode, stderr).toBe(0);
  const steps = stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const totals = { input_tokens: 1200, output_tokens: 350, requests: 1 };
  expect(steps).toEqual([
    { step: "record", outcome: "RECORD_OUTCOME_RECORDED" },
    { step: "record", outcome: "RECORD_OUTCOME_DUPLICATE" },
    { step: "read", tokens_used: 1550, totals },
    { step: "stream", kind: "snapshot", totals },
    { step: "stream", kind: "update", totals: { input_tokens: 1300, output_tokens: 350, requests: 2 } },
    { step: "refused", code: "INVALID_ARGUMENT", fields: ["record.idempotency_key", "record.measurements"] },
  ]);
}
