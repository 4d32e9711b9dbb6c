// A client in another language, on stubs made from the proto files by that language's own tools.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningService, startService } from "../support/service.ts";
import { findPython, ROOT, requireTool, runTool, type Tool } from "./tools.ts";

const GOOGLE_PROTOS = join(ROOT, "node_modules", "google-proto-files");
const SOURCES = [
  "metering/v1/metering_service.proto",
  "metering/v1/usage.proto",
  "google/rpc/status.proto",
  "google/rpc/error_details.proto",
];

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
  const out = mkdtempSync(join(tmpdir(), "metering-test-python-"));
  context.onTestFinished(() => rmSync(out, { recursive: true, force: true }));
  const includes = [`-I${join(ROOT, "proto")}`, `-I${GOOGLE_PROTOS}`];
  const outputs = [`--python_out=${out}`, `--grpc_python_out=${out}`];
  const made = await runTool(python, ["-m", "grpc_tools.protoc", ...includes, ...outputs, ...SOURCES]);
  expect(made.exitCode, made.stderr).toBe(0);

  const client = join(ROOT, "test/clients/python/client.py");
  const args = [client, running.service.api.grpcTarget];
  const { exitCode, stdout, stderr } = await runTool(python, args, { environment: { PYTHONPATH: out } });
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
});
