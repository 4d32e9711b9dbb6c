import { expect, onTestFinished, test } from "vitest";
import { Access } from "../../../src/rpc/access.ts";
import { Call } from "../../../src/rpc/call.ts";
import { DashboardTokens } from "../../../src/rpc/dashboard-tokens.ts";
import { DEFAULT_CALL_LIMITS, Edge } from "../../../src/rpc/edge.ts";
import { testClock } from "../../support/clock.ts";

const dashboards = new DashboardTokens({ deploymentId: "one", tokenKey: "key" }, testClock());

function makeEdge(maxStreams: number): Edge {
  const clock = testClock();
  const logger = { info() {}, warn() {}, error() {} };
  const observer = { callEnded() {}, recordEnded() {}, openStreams() {} };
  const access = new Access({
    directory: { check: () => undefined, holds: () => true, requireFresh() {} },
    dashboards,
  });
  const limits = { ...DEFAULT_CALL_LIMITS, maxStreams };
  const edge = new Edge({ transport: "test", clock, logger, observer, limits, access, randomId: () => "id" });
  onTestFinished(() => edge.drain());
  return edge;
}

/** Opens a stream that never ends by itself; its first event, or the reason for which it was refused. */
async function open(edge: Edge, customerId: string) {
  const { token } = await dashboards.create({ customerId }, 60_000);
  const call = new Call(
    () => {},
    (name) => (name === "authorization" ? `Bearer ${token}` : undefined),
  );
  const events = edge.stream("StreamUsage", call, async function* () {
    for (;;) yield "event";
  });
  const first = await events.next().then(
    ({ value }) => value,
    (error: { status?: { reason?: string } }) => error.status?.reason,
  );
  return { events, first };
}

test("the dashboards of one customer hold a twentieth of the streams at most; others still find a place", async () => {
  const edge = makeEdge(40);
  const mine = [await open(edge, "acme"), await open(edge, "acme")];
  expect(mine.map(({ first }) => first)).toEqual(["event", "event"]);
  expect((await open(edge, "acme")).first).toBe("TOO_MANY_STREAMS");
  expect((await open(edge, "globex")).first).toBe("event");
  await mine[0]?.events.return(undefined);
  expect((await open(edge, "acme")).first).toBe("event");
  expect((await open(edge, "acme")).first).toBe("TOO_MANY_STREAMS");
});
