import { expect, test } from "vitest";
import type { SpanStart } from "../../../src/app/ports/tracing.ts";
import { ANYBODY } from "../../../src/domain/access.ts";
import { Access } from "../../../src/rpc/access.ts";
import { Call } from "../../../src/rpc/call.ts";
import { DEFAULT_CALL_LIMITS, Edge } from "../../../src/rpc/edge.ts";
import { testClock } from "../../support/clock.ts";

const PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

test("a caller's trace is followed once it was let in; a stranger's is not", async () => {
  const started: SpanStart[] = [];
  const tracing = {
    start(what: SpanStart) {
      started.push(what);
      return { traceparent: undefined, end() {} };
    },
  };
  const clock = testClock();
  const isGood = (text: string) => text === "mtr_good";
  const directory = {
    check: (text: string) => (isGood(text) ? { ...ANYBODY, kind: "service" as const } : undefined),
    holds: () => true,
    requireFresh() {},
  };
  const access = new Access({ directory, dashboards: { check: async () => undefined } });
  const logger = { info() {}, warn() {}, error() {} };
  const observer = { callEnded() {}, recordEnded() {}, openStreams() {} };
  const limits = DEFAULT_CALL_LIMITS;
  const edge = new Edge({ transport: "test", clock, logger, observer, limits, access, tracing, randomId: () => "id" });
  const callWith = (token: string) => {
    const headers = new Map([
      ["authorization", `Bearer ${token}`],
      ["traceparent", PARENT],
    ]);
    return new Call(
      () => {},
      (name) => headers.get(name),
    );
  };
  expect(() => edge.letIn("GetUsage", callWith("mtr_bad"))).toThrow();
  const call = callWith("mtr_good");
  await edge.letIn("GetUsage", call);
  await edge.unary("GetUsage", call, undefined, async () => "answer");
  expect(started.map(({ parent }) => parent)).toEqual([undefined, PARENT]);
});
