// A leader dies at each numbered step, or is only thought dead; another takes over. Whatever happens, each quantity counts once.
import { describe, expect, test, vi } from "vitest";
import type { Backlog, Reports } from "../../../src/app/ports/reports.ts";
import type { SinkOutcome } from "../../../src/domain/report.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import {
  addUsage,
  CLOSED_MS,
  CountingSink,
  everythingCountedOnce,
  expireLease,
  flushParts,
  reportRows,
  startLeader,
  unobserved,
} from "./harness.ts";

async function someUsage(pool: Pool): Promise<void> {
  const usage = Array.from({ length: 12 }, (_, i) => {
    return {
      customerId: `cus_${i % 3}`,
      eventName: `e${i % 2}`,
      windowStartMs: CLOSED_MS - i * 60_000,
      quantity: BigInt(i + 1),
    };
  });
  await addUsage(pool, ...usage);
}

type Die = () => Promise<never>;

/** A process that stops for ever at one step: what it did until then is in the stores, and it neither renews nor releases. */
const crashes: Readonly<Record<string, (reports: Reports, die: Die) => Reports>> = {
  "before 1, freeze": (reports, die) => ({ ...reports, plan: die }),
  "after 1, freeze": (reports, die) => ({ ...reports, claim: die }),
  "after 2, mark": (reports, die) => ({ ...reports, claim: (...args) => reports.claim(...args).then(die) }),
  "after 3, send": (reports, die) => ({ ...reports, settle: die }),
  "after 4, settle": (reports, die) => ({ ...reports, settle: (...args) => reports.settle(...args).then(die) }),
};

/** Runs a leader that dies, as SIGKILL would have it: nothing that it holds is cleaned up. Resolves when it has died. */
async function killedLeader(
  pool: Pool,
  sink: CountingSink,
  crash: (reports: Reports, die: Die) => Reports,
): Promise<void> {
  let died = () => {};
  const death = new Promise<void>((resolve) => {
    died = resolve;
  });
  let dead = false;
  const die: Die = () => {
    dead = true;
    died();
    return new Promise(() => {});
  };
  // Whatever the dead one would do next, it does not.
  const wrap = (reports: Reports) =>
    new Proxy(crash(reports, die), {
      get: (target, name, self) => (dead ? die : Reflect.get(target, name, self)),
    });
  const { flush, holder } = flushParts(pool, { sink, wrap, settings: { sendBatch: 5 } });
  const grant = (await holder.lease.acquire(holder.holder, 600_000)) ?? expect.fail("the lease is held");
  const never = new AbortController().signal;
  void flush.run({ grant, signal: never, stopping: never, mayBegin: () => true });
  await death;
}

describe.each(["v1", "stream"] as const)("%s: a leader dies, the next one finishes, everything counts once", (name) => {
  test.each(Object.keys(crashes))("%s", async (step) => {
    const { pool } = await useServedDatabase();
    await someUsage(pool);
    const sink = new CountingSink(undefined, name);
    await killedLeader(pool, sink, crashes[step] ?? expect.fail());
    await expireLease(pool);
    startLeader(pool, { sink });
    await everythingCountedOnce(pool, sink);
    const resent = sink.calls.length - new Set(sink.calls).size;
    // A round is settled while the next one is sent, so a crash after 4 may come after 3 of the next.
    expect(step === "after 4, settle" ? [0, 5] : [step === "after 3, send" ? 5 : 0]).toContain(resent);
    const settled = name === "v1" ? "accepted" : "sent";
    expect(new Set((await reportRows(pool)).map((row) => row.state))).toEqual(new Set([settled]));
  });

  test("at any step, again and again", async () => {
    const { pool } = await useServedDatabase();
    const sink = new CountingSink(undefined, name);
    for (const step of Object.values(crashes)) {
      await someUsage(pool);
      await killedLeader(pool, sink, step);
      await expireLease(pool);
    }
    startLeader(pool, { sink });
    await everythingCountedOnce(pool, sink);
  });
});

test("a leader that was paused while sending wakes up to find another: its answer changes nothing", async () => {
  const { pool, connect } = await useServedDatabase();
  await addUsage(pool, { customerId: "cus_1", quantity: 5n });
  let wake = () => {};
  const paused = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const settles: unknown[] = [];
  const sink = new CountingSink();
  const sleeping = new (class extends CountingSink {
    override async send(): Promise<SinkOutcome[]> {
      await paused;
      return [{ kind: "refused", code: "other", message: "an answer from long ago" }];
    }
  })();
  const wrap = (reports: Reports): Reports => ({
    ...reports,
    settle: async (...args) => {
      settles.push(await reports.settle(...args).catch((cause: unknown) => cause));
    },
  });
  const first = startLeader(connect(), { sink: sleeping, wrap });
  await vi.waitFor(async () => expect(await reportRows(pool)).toMatchObject([{ state: "sending" }]), 55_000);
  await expireLease(pool);
  startLeader(connect(), { sink });
  await everythingCountedOnce(pool, sink);
  wake();
  await first.stop();
  expect(settles).toMatchObject([{ name: "StaleLeaseError" }]);
  expect(await reportRows(pool)).toMatchObject([{ state: "accepted" }]);
});

test("a leader that lost its lease sends nothing more, even before it has noticed", async () => {
  const { pool } = await useServedDatabase();
  await someUsage(pool);
  const sink = new CountingSink();
  const { flush, holder, reports } = flushParts(pool, { sink });
  const grant = (await holder.lease.acquire("a", 600_000)) ?? expect.fail();
  let held = true;
  const never = new AbortController().signal;
  sink.send = new Proxy(sink.send, {
    apply(send, self, args: Parameters<typeof sink.send>) {
      held = sink.calls.length < 2;
      return Reflect.apply(send, self, args);
    },
  });
  await flush.run({ grant, signal: never, stopping: never, mayBegin: () => held });
  expect(sink.calls).toHaveLength(3);
  // What was marked and not sent was given back.
  expect((await reports.backlog()).openReports).toBe(9);
  expect(
    (await reportRows(pool)).filter((row) => row.state === "planned" && row.first_attempt_at === null),
  ).toHaveLength(9);
});

test("the outcome is unknown: sent again under the same identifier within 23 h, held after", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, { customerId: "cus_1", quantity: 5n }, { customerId: "cus_2", quantity: 6n });
  const sink = new CountingSink(async (_, call) => (call <= 2 ? "lost_after" : undefined));
  const held: unknown[] = [];
  const observer = { planned() {}, sent() {}, backlog() {}, held: (...args: unknown[]) => held.push(args) };
  startLeader(pool, { sink, observer });
  await vi.waitFor(
    async () => expect((await reportRows(pool)).map((r) => r.state)).toEqual(["unknown", "unknown"]),
    55_000,
  );
  await pool.query("UPDATE report SET first_attempt_at = now() - interval '23 hours' WHERE customer_id = 'cus_2'");
  await pool.query("UPDATE report SET next_attempt_at = now()");
  await vi.waitFor(
    async () => expect((await reportRows(pool)).map((r) => r.state)).toEqual(["accepted", "held"]),
    55_000,
  );
  const [first] = await reportRows(pool);
  expect(sink.calls.filter((identifier) => identifier === first?.identifier)).toHaveLength(2);
  expect(sink.calls).toHaveLength(3);
  expect(held).toEqual([["outcome_unknown", 1]]);
  expect(sink.sums().get("cus_1 tokens")).toBe(5n);
});

test("the way is changed while outcomes are unknown: what was sent one way never goes the other", async () => {
  const { pool } = await useServedDatabase();
  await addUsage(pool, { customerId: "cus_1", quantity: 5n });
  const v1 = new CountingSink(async () => "lost_after");
  const before = startLeader(pool, { sink: v1 });
  await vi.waitFor(async () => expect(await reportRows(pool)).toMatchObject([{ state: "unknown" }]), 55_000);
  await before.stop();
  await addUsage(pool, { customerId: "cus_1", quantity: 6n });
  await pool.query("UPDATE report SET next_attempt_at = now()");
  const stream = new CountingSink(undefined, "stream");
  const others: number[] = [];
  const observer = { ...unobserved, backlog: (backlog: Backlog) => others.push(backlog.otherSinkReports) };
  const between = startLeader(pool, { sink: stream, observer, settings: { intervalMs: 50 } });
  await vi.waitFor(async () => {
    expect((await reportRows(pool)).map((row) => [row.state, row.sink])).toEqual([
      ["unknown", "v1"],
      ["sent", "stream"],
    ]);
  }, 55_000);
  await vi.waitFor(() => expect(others).toContain(1), 55_000);
  await between.stop();
  const back = new CountingSink();
  for (const [identifier, report] of v1.counted) back.counted.set(identifier, report);
  startLeader(pool, { sink: back });
  await vi.waitFor(
    async () => expect(await reportRows(pool)).toMatchObject([{ state: "accepted" }, { state: "sent" }]),
    55_000,
  );
  expect(stream.calls).toHaveLength(1);
  expect(back.calls).toEqual(v1.calls.slice(0, 1));
});
