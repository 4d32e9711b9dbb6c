import { describe, expect, test, vi } from "vitest";
import { flushNow } from "../../../src/app/flush-now.ts";
import type { Backlog, MeterSink, Reports } from "../../../src/app/ports/reports.ts";
import type { RoundCounts } from "../../../src/app/send-round.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import {
  addUsage,
  CLOSED_MS,
  CountingSink,
  everythingCountedOnce,
  flushParts,
  reportRows,
  startLeader,
  unobserved,
} from "./harness.ts";

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("closed windows are sent by themselves, again and again", async () => {
  const { pool } = await useServedDatabase();
  const sink = new CountingSink();
  startLeader(pool, { sink, settings: { intervalMs: 50 } });
  for (let i = 1n; i <= 3n; i++) {
    await addUsage(pool, { customerId: "cus_1", quantity: i }, { customerId: "cus_1", eventName: "requests" });
    await everythingCountedOnce(pool, sink);
  }
  expect(sink.sums()).toEqual(
    new Map([
      ["cus_1 requests", 3n],
      ["cus_1 tokens", 6n],
    ]),
  );
});

test("one at a time within a customer and event name, side by side across, within the bound", async () => {
  const { pool } = await useServedDatabase();
  // Four windows of one lane after another, so that lanes would overlap if they could.
  const usage = Array.from({ length: 120 }, (_, i) => {
    const lane = Math.floor(i / 4);
    return { customerId: `cus_${lane % 10}`, eventName: `e${lane % 3}`, windowStartMs: CLOSED_MS - i * 60_000 };
  });
  await addUsage(pool, ...usage);
  // CountingSink fails on two sends of one lane at once.
  let fill = () => {};
  const filled = new Promise<void>((resolve) => {
    fill = resolve;
  });
  const sink = new CountingSink(async (_, call) => {
    // The first seven wait for each other; an eighth beside them would show.
    if (call === 7) setTimeout(fill, 50);
    if (call <= 7) await filled;
    await delay(2);
    return undefined;
  });
  startLeader(pool, { sink, settings: { round: { concurrency: 7, limitMs: 30_000 } } });
  await everythingCountedOnce(pool, sink);
  expect(sink.inFlightMax).toBe(7);
});

test("a throttling sink is sent to more slowly until it takes everything, and nothing counts twice", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, ...Array.from({ length: 60 }, (_, i) => ({ customerId: `cus_${i}` })));
  // Takes 10 in each 100 ms, as a rate limiter would.
  let taken = 0;
  let sinceMs = 0;
  const sink = new CountingSink(async () => {
    if (performance.now() - sinceMs > 100) [taken, sinceMs] = [0, performance.now()];
    taken += 1;
    return taken > 10 ? { kind: "throttled", message: "slower" } : undefined;
  });
  const rounds: RoundCounts[] = [];
  startLeader(pool, { sink, observer: { ...unobserved, sent: (counts) => rounds.push(counts) } });
  await everythingCountedOnce(pool, sink, 30_000);
  // A round ends with the first refusal (and what was in flight then), so refusals are few.
  expect(rounds.every((counts) => counts.throttled <= 16)).toBe(true);
  expect(rounds.some((counts) => counts.throttled > 0 && counts.not_sent > 0)).toBe(true);
});

test("a sink that answers late delays its own lane only", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(
    pool,
    { customerId: "cus_slow" },
    ...Array.from({ length: 30 }, (_, i) => ({ customerId: `cus_${i}` })),
  );
  let release = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const sink = new CountingSink(async (report) => {
    if (report.customerId === "cus_slow") await gate;
    return undefined;
  });
  startLeader(pool, { sink, settings: { round: { concurrency: 2, limitMs: 30_000 } } });
  await vi.waitFor(() => expect(sink.counted.size).toBe(30), 5_000);
  release();
  await everythingCountedOnce(pool, sink);
});

test("after a send of unknown fate no other of its lane begins in the round", async () => {
  const { pool } = await useServedDatabase();
  const usage = [0, 1, 2, 3].map((i) => ({ customerId: "cus_1", windowStartMs: CLOSED_MS - i * 60_000 }));
  await addUsage(pool, ...usage, { customerId: "cus_2" });
  const rounds: RoundCounts[] = [];
  const sink = new CountingSink(async (_, call) => (call === 1 ? "lost_after" : undefined));
  startLeader(pool, { sink, observer: { ...unobserved, sent: (counts) => rounds.push(counts) } });
  await everythingCountedOnce(pool, sink);
  expect(rounds[0]).toMatchObject({ unknown: 1, accepted: 1, not_sent: 3 });
});

test("a round that went well is settled beside the next one, any other before it", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, ...Array.from({ length: 9 }, (_, i) => ({ customerId: `cus_${i}` })));
  const log: string[] = [];
  let [claims, settles] = [0, 0];
  const wrap = (reports: Reports): Reports => ({
    ...reports,
    async claim(...args) {
      log.push(`claim ${++claims}`);
      return reports.claim(...args);
    },
    async settle(...args) {
      const round = ++settles;
      log.push(`settle ${round}`);
      await delay(100);
      await reports.settle(...args);
      log.push(`settled ${round}`);
    },
  });
  const sink = new CountingSink(async (_, call) => (call === 5 ? "lost_after" : undefined));
  startLeader(pool, { sink, wrap, settings: { sendBatch: 3, round: { concurrency: 1, limitMs: 30_000 } } });
  await everythingCountedOnce(pool, sink);
  const inOrder = (...steps: string[]) => expect(log.filter((step) => steps.includes(step))).toEqual(steps);
  inOrder("settle 1", "claim 2", "settled 1", "settle 2", "settled 2", "claim 3");
});

test("a clean stop finishes what is being sent, settles it, and begins nothing", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, ...Array.from({ length: 20 }, (_, i) => ({ customerId: `cus_${i}` })));
  const sink = new CountingSink(() => delay(200).then(() => undefined));
  const leader = startLeader(pool, { sink, settings: { round: { concurrency: 3, limitMs: 30_000 } } });
  await vi.waitFor(() => expect(sink.calls).toHaveLength(3), { timeout: 5_000, interval: 5 });
  await leader.stop();
  const states = Map.groupBy(await reportRows(pool), (row) => row.state);
  expect(states.get("accepted")).toHaveLength(3);
  expect(states.get("planned")).toHaveLength(17);
  expect(sink.calls).toHaveLength(3);
  const lease = await pool.query("SELECT holder, expires_at < now() AS free FROM lease");
  expect(lease.rows).toEqual([{ holder: "", free: true }]);
});

test("a clean stop waits until the last round is settled", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, { customerId: "cus_1" });
  let begun = () => {};
  const settling = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const wrap = (reports: Reports): Reports => ({
    ...reports,
    async settle(...args) {
      begun();
      await delay(300);
      await reports.settle(...args);
    },
  });
  const leader = startLeader(pool, { sink: new CountingSink(), wrap });
  await settling;
  await leader.stop();
  expect(await reportRows(pool)).toMatchObject([{ state: "accepted" }]);
});

test("a stop does not wait for a sink that never answers", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, { customerId: "cus_1" });
  const stuck: MeterSink = {
    name: "v1",
    batchMax: 1,
    serial: true,
    send: (_, signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve([{ kind: "unknown", message: "aborted" }]));
      }),
  };
  const leader = startLeader(pool, { sink: stuck, timing: { stopGraceMs: 100 } });
  await vi.waitFor(async () => expect(await reportRows(pool)).toMatchObject([{ state: "sending" }]), 5_000);
  await leader.stop();
  expect(await reportRows(pool)).toMatchObject([{ state: "unknown" }]);
});

test("two replicas over one database, randomly stopped and started: each quantity once", async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  const { pool, connect } = await useServedDatabase();
  const sink = new CountingSink(async () => {
    const draw = random();
    await delay(draw * 3);
    if (draw < 0.1) return "lost_after";
    if (draw < 0.15) return { kind: "unknown", message: "lost before" };
    if (draw < 0.2) return { kind: "throttled", message: "slower" };
    return undefined;
  });
  const pools = [connect(), connect()];
  const start = (i: number) => startLeader(pools[i] ?? pool, { sink, settings: { intervalMs: 30, sendBatch: 7 } });
  const replicas = [start(0), start(1)];
  for (let i = 0; i < 30; i++) {
    const usage = { customerId: `cus_${Math.floor(random() * 4)}`, eventName: `e${Math.floor(random() * 2)}` };
    await addUsage(pool, {
      ...usage,
      windowStartMs: CLOSED_MS - Math.floor(random() * 5) * 60_000,
      quantity: BigInt(i + 1),
    });
    const which = Math.floor(random() * 2);
    if (random() < 0.3) {
      await replicas[which]?.stop();
      replicas[which] = start(which);
    }
    await delay(20);
  }
  // Retries wait a second or more; here they need not.
  const hurry = setInterval(
    () =>
      void pool
        .query("UPDATE report SET next_attempt_at = now() WHERE state IN ('planned', 'unknown')")
        .catch(() => {}),
    200,
  );
  try {
    await everythingCountedOnce(pool, sink, 40_000);
  } catch (cause) {
    throw new Error(`SEED=${seed}`, { cause });
  } finally {
    clearInterval(hurry);
  }
});

describe("flushNow", () => {
  test("does the work itself where no service runs, open windows included, and frees the lease", async () => {
    const { pool } = await useServedDatabase();
    const nowMs = Math.floor(Date.now() / 1000) * 1000;
    await addUsage(
      pool,
      { customerId: "cus_1", quantity: 3n },
      { customerId: "cus_1", windowStartMs: nowMs - 1_000, quantity: 4n },
    );
    let tell = (_: Backlog) => {};
    const told = new Promise<Backlog>((resolve) => {
      tell = resolve;
    });
    const sink = new CountingSink(() => told.then(() => undefined));
    const options = {
      ...flushParts(pool, { sink }),
      customerId: undefined,
      onProgress: tell,
    };
    expect(await flushNow(options, new AbortController().signal)).toBe(true);
    await everythingCountedOnce(pool, sink);
    expect(sink.sums()).toEqual(new Map([["cus_1 tokens", 7n]]));
    expect((await told).heldReports).toBe(0);
    expect((await pool.query("SELECT holder FROM lease")).rows).toEqual([{ holder: "" }]);
  });

  test("has the leader do it where one runs, within a few seconds, for one customer", async () => {
    const { pool, connect } = await useServedDatabase();
    const sink = new CountingSink();
    startLeader(connect(), { sink, settings: { intervalMs: 3_600_000 } });
    await vi.waitFor(
      async () => expect((await pool.query("SELECT 1 FROM lease WHERE holder <> ''")).rowCount).toBe(1),
      5_000,
    );
    await delay(200);
    await addUsage(pool, { customerId: "cus_1", quantity: 3n }, { customerId: "cus_2", quantity: 9n });
    const idle = new CountingSink();
    const options = { ...flushParts(pool, { sink: idle }), customerId: "cus_1", onProgress: () => {} };
    expect(await flushNow(options, AbortSignal.timeout(10_000))).toBe(true);
    expect(sink.sums()).toEqual(new Map([["cus_1 tokens", 3n]]));
    expect(idle.calls).toEqual([]);
  });

  test("ends though reports must wait for a retry", async () => {
    const { pool } = await useServedDatabase();
    await addUsage(pool, { customerId: "cus_1" });
    const sink = new CountingSink(async () => ({ kind: "unknown", message: "down" }));
    const options = { ...flushParts(pool, { sink }), customerId: undefined, onProgress: () => {} };
    expect(await flushNow(options, AbortSignal.timeout(10_000))).toBe(true);
    expect(await reportRows(pool)).toMatchObject([{ state: "unknown" }]);
  });

  test("gives up when told to", async () => {
    const { pool, connect } = await useServedDatabase();
    const blocked = flushParts(connect(), { sink: new CountingSink() });
    await blocked.holder.lease.acquire("somebody who does nothing", 600_000);
    const options = { ...flushParts(pool, { sink: new CountingSink() }), customerId: undefined, onProgress: () => {} };
    expect(await flushNow(options, AbortSignal.timeout(300))).toBe(false);
  });
});
