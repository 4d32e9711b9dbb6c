import { expect, onTestFinished, test, vi } from "vitest";
import { Access } from "../../../src/rpc/access.ts";
import { Call } from "../../../src/rpc/call.ts";
import { READS_AT_ONCE } from "../../../src/rpc/dashboard-shares.ts";
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

async function callFor(customerId: string): Promise<Call> {
  const { token } = await dashboards.create({ customerId }, 60_000);
  return new Call(
    () => {},
    (name) => (name === "authorization" ? `Bearer ${token}` : undefined),
  );
}

/** Opens a stream that never ends by itself; its first event, or the reason for which it was refused. */
async function open(edge: Edge, customerId: string) {
  const call = await callFor(customerId);
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

test("the reads of one customer's dashboards take turns; others do not wait for them; who waits too long is never read for", async () => {
  const edge = makeEdge(40);
  const running: (() => void)[] = [];
  let answered = 0;
  const read = async (customerId: string, timeoutMs: number) => {
    const work = () => new Promise<void>((resolve) => running.push(resolve));
    return edge.unary("GetUsage", await callFor(customerId), timeoutMs, work).then(() => {
      answered += 1;
    });
  };
  const first = Array.from({ length: READS_AT_ONCE }, () => read("acme", 60_000));
  await vi.waitFor(() => expect(running).toHaveLength(READS_AT_ONCE), 30_000);
  await expect(read("acme", 50)).rejects.toMatchObject({ status: { reason: "DEADLINE_EXCEEDED" } });
  const inLine = read("acme", 60_000);
  const others = read("globex", 60_000);
  await vi.waitFor(() => expect(running).toHaveLength(READS_AT_ONCE + 1), 30_000);
  running.at(-1)?.();
  await others;
  running[0]?.();
  await vi.waitFor(() => expect(running).toHaveLength(READS_AT_ONCE + 2), 30_000);
  for (const end of running) end();
  await Promise.all([...first, inLine]);
  expect(answered).toBe(READS_AT_ONCE + 2);
  expect(running).toHaveLength(READS_AT_ONCE + 2);
});
