import { describe, expect, test } from "vitest";
import type { Tenure } from "../../../src/app/hold-lease.ts";
import type { ClaimedReport } from "../../../src/app/ports/reports.ts";
import { SendRate } from "../../../src/app/send-rate.ts";
import { sendRound } from "../../../src/app/send-round.ts";
import type { SinkOutcome } from "../../../src/domain/report.ts";

/** A clock that moves when somebody sleeps or sends. */
function movingClock() {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    async sleep(delayMs: number) {
      nowMs += delayMs;
    },
    move(byMs: number) {
      nowMs += byMs;
    },
  };
}

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

const sinkOf = (answer: (report: { identifier: string }) => SinkOutcome) => ({
  send: async (report: { identifier: string }) => answer(report),
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

describe("SendRate", () => {
  const never = new AbortController().signal;

  test("keeps to the rate", async () => {
    const clock = movingClock();
    const rate = new SendRate(100, clock);
    for (let i = 0; i < 101; i++) await rate.turn(never);
    expect(clock.monotonicMs()).toBeCloseTo(1_000, 6);
  });

  test("saves nothing up while idle", async () => {
    const clock = movingClock();
    const rate = new SendRate(100, clock);
    await rate.turn(never);
    clock.move(60_000);
    for (let i = 0; i < 11; i++) await rate.turn(never);
    expect(clock.monotonicMs()).toBeCloseTo(60_100, 6);
  });

  test("halves on trouble, not below one a second, and comes back", () => {
    const rate = new SendRate(1_000, movingClock());
    for (let i = 0; i < 20; i++) rate.slowDown();
    expect(rate.ratePerSecond).toBe(1);
    rate.speedUp();
    expect(rate.ratePerSecond).toBe(1.25);
    for (let i = 0; i < 50; i++) rate.speedUp();
    expect(rate.ratePerSecond).toBe(1_000);
  });
});
