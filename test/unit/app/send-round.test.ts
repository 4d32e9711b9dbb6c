import { describe, expect, test } from "vitest";
import type { Tenure } from "../../../src/app/hold-lease.ts";
import type { ClaimedReport, MeterSink } from "../../../src/app/ports/reports.ts";
import { sendRound } from "../../../src/app/send-round.ts";
import type { Report, SinkOutcome } from "../../../src/domain/report.ts";
import { movingClock } from "../../support/moving-clock.ts";

function reportOf(customer: number, sequence: number): ClaimedReport {
  const customerId = `cus_${customer}`;
  return {
    identifier: `${customerId}-${sequence}`,
    kind: "usage",
    origin: undefined,
    customerId,
    stripeCustomerId: customerId,
    eventName: "tokens",
    payload: "{}",
    windowStartMs: 0,
    sequence,
    value: 1n,
    timestampMs: 0,
    late: false,
    before: "planned",
    attempts: 1,
  };
}

const atOnce = async () => {};
const limits = { concurrency: 4, limitMs: 1_000 };

function tenureOf(mayBegin = () => true): Tenure {
  const { signal } = new AbortController();
  return { grant: { epoch: 1n, ttlMs: 1 }, signal, stopping: signal, mayBegin };
}

const sinkOf = (answer: (report: { identifier: string }) => SinkOutcome): MeterSink => ({
  name: "v1",
  batchMax: 1,
  serial: true,
  send: async (reports) => reports.map(answer),
});

describe("sendRound", () => {
  test("settles every report it was given, whatever happens", async () => {
    const reports = Array.from({ length: 50 }, (_, i) => reportOf(i % 7, i));
    const kinds = ["accepted", "unknown", "duplicate", "throttled"] as const;
    const sink = sinkOf(({ identifier }) => ({ kind: kinds[identifier.length % 4] ?? "accepted", message: "" }));
    const { settled, counts } = await sendRound(reports, sink, tenureOf(), atOnce, limits, movingClock());
    expect(settled.map(({ report }) => report.identifier).sort()).toEqual(reports.map((r) => r.identifier).sort());
    expect(Object.values(counts).reduce((a, b) => a + b)).toBe(50);
  });

  test("begins no send after its limit, so that none comes near the horizon", async () => {
    const clock = movingClock();
    const sink = sinkOf(() => {
      clock.move(400);
      return { kind: "accepted" };
    });
    const reports = Array.from({ length: 10 }, (_, i) => reportOf(1, i));
    const { counts } = await sendRound(reports, sink, tenureOf(), atOnce, limits, clock);
    expect(counts).toMatchObject({ accepted: 3, not_sent: 7 });
  });

  test("asks the lease again after a wait for its turn", async () => {
    let held = true;
    const turn = async () => {
      held = false;
    };
    const sink = sinkOf(() => expect.fail("sent without the lease"));
    const { counts } = await sendRound(
      [reportOf(1, 0)],
      sink,
      tenureOf(() => held),
      turn,
      limits,
      movingClock(),
    );
    expect(counts).toMatchObject({ not_sent: 1 });
  });

  test("after a refusal for good the lane goes on", async () => {
    const sink = sinkOf(() => ({ kind: "refused", code: "other", message: "" }));
    const reports = [reportOf(1, 0), reportOf(1, 1)];
    const { counts } = await sendRound(reports, sink, tenureOf(), atOnce, limits, movingClock());
    expect(counts).toMatchObject({ refused: 2 });
  });
});

/** A sink of batches that notes what each request held, and how many were under way at once. */
function batchSink(answer: (reports: readonly Report[], request: number) => SinkOutcome | "split") {
  const requests: string[][] = [];
  let inFlight = 0;
  let inFlightMax = 0;
  const sink: MeterSink = {
    name: "stream",
    batchMax: 4,
    serial: false,
    async send(reports) {
      requests.push(reports.map((report) => report.identifier));
      const request = requests.length;
      inFlight += 1;
      inFlightMax = Math.max(inFlightMax, inFlight);
      await new Promise((resolve) => setImmediate(resolve));
      inFlight -= 1;
      const said = answer(reports, request);
      return said === "split" ? said : reports.map(() => said);
    },
  };
  return { sink, requests, inFlightMax: () => inFlightMax };
}

describe("a sink that takes batches in any order", () => {
  const taken = { kind: "taken" } as const;
  const reports = (count: number) => Array.from({ length: count }, (_, i) => reportOf(i % 2, i));
  const identifiers = (of: readonly ClaimedReport[]) => of.map((report) => report.identifier);

  test("gets full batches across customers, tightest deadline first, within the bound of requests", async () => {
    const { sink, requests, inFlightMax } = batchSink(() => taken);
    const claimed = reports(23);
    const { settled, counts } = await sendRound(claimed, sink, tenureOf(), atOnce, limits, movingClock());
    expect(requests.map((request) => request.length)).toEqual([4, 4, 4, 4, 4, 3]);
    expect(requests.flat()).toEqual(identifiers(claimed));
    expect(inFlightMax()).toBe(4);
    expect(counts).toMatchObject({ taken: 23 });
    expect(new Set(settled.map(({ settlement }) => settlement.state))).toEqual(new Set(["sent"]));
  });

  test("gets each cancel alone, those of one customer and event name one after another", async () => {
    const claimed = reports(12).map((report, i) =>
      i % 3 === 0 ? { ...report, kind: "cancel" as const, origin: "o" } : report,
    );
    const cancels = new Set(claimed.filter((report) => report.kind === "cancel").map((report) => report.identifier));
    let cancelsInFlight = 0;
    const { sink, requests } = batchSink(() => taken);
    const watched: MeterSink = {
      ...sink,
      async send(batch, signal) {
        const isCancel = batch.some((report) => cancels.has(report.identifier));
        if (isCancel) cancelsInFlight += 1;
        // Two customers, one event name.
        expect(cancelsInFlight).toBeLessThanOrEqual(2);
        const answer = await sink.send(batch, signal);
        if (isCancel) cancelsInFlight -= 1;
        return answer;
      },
    };
    await sendRound(claimed, watched, tenureOf(), atOnce, { ...limits, concurrency: 12 }, movingClock());
    for (const request of requests) expect(request.length === 1 || !request.some((id) => cancels.has(id))).toBe(true);
    expect(requests.flat().toSorted()).toEqual(identifiers(claimed).toSorted());
  });

  test("refuses a request because of one report: the others go, and only that one is condemned", async () => {
    const claimed = reports(16);
    const bad = claimed[6]?.identifier;
    const { sink, requests } = batchSink((batch) => {
      if (!batch.some((report) => report.identifier === bad)) return taken;
      return batch.length > 1 ? "split" : { kind: "refused", code: "other", message: "" };
    });
    const { settled, counts } = await sendRound(claimed, sink, tenureOf(), atOnce, limits, movingClock());
    expect(counts).toMatchObject({ taken: 15, refused: 1 });
    const held = settled.filter(({ settlement }) => settlement.state === "held");
    expect(held.map(({ report }) => report.identifier)).toEqual([bad]);
    expect(requests).toHaveLength(4 + 4);
  });

  test("refuses every report: one request less than twice as many as there are", async () => {
    const { sink, requests } = batchSink((batch) =>
      batch.length > 1 ? "split" : { kind: "refused", code: "other", message: "" },
    );
    const { counts } = await sendRound(reports(4), sink, tenureOf(), atOnce, limits, movingClock());
    expect(counts).toMatchObject({ refused: 4 });
    expect(requests).toHaveLength(7);
  });

  test("throttles: no request begins after, and what was not sent is given back", async () => {
    const { sink, requests } = batchSink((_, request) =>
      request === 2 ? { kind: "throttled", message: "slower" } : taken,
    );
    const bounds = { ...limits, concurrency: 1 };
    const { counts, settled } = await sendRound(reports(16), sink, tenureOf(), atOnce, bounds, movingClock());
    expect(requests).toHaveLength(2);
    expect(counts).toMatchObject({ taken: 4, throttled: 4, not_sent: 8 });
    expect(settled).toHaveLength(16);
  });

  test("loses an answer: its batch is unknown, other batches go on", async () => {
    const { sink } = batchSink((_, request) => (request === 1 ? { kind: "unknown", message: "lost" } : taken));
    const { counts } = await sendRound(reports(16), sink, tenureOf(), atOnce, limits, movingClock());
    expect(counts).toMatchObject({ unknown: 4, taken: 12, not_sent: 0 });
  });

  test("says nothing of a report: nobody knows what became of it", async () => {
    const { sink } = batchSink(() => taken);
    const forgetful: MeterSink = { ...sink, send: async () => [taken] };
    const { counts } = await sendRound(reports(4), forgetful, tenureOf(), atOnce, limits, movingClock());
    expect(counts).toMatchObject({ taken: 1, unknown: 3 });
  });
});
