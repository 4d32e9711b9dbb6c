// Sending reports against a real Postgres: what is claimed, by which sink, and what its outcome leaves behind.
import { describe, expect, test } from "vitest";
import { giveBack, type SinkOutcome, settle } from "../../../src/domain/report.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { addUsage, CLOSED_MS, expireLease, LEASE, reportRows } from "../flush/harness.ts";
import { only, setUp } from "./reports-harness.ts";

describe("claim", () => {
  test("marks durably what it gives, and gives it once", async () => {
    const { pool, planAll, reports, grant } = await setUp();
    await addUsage(pool, { customerId: "cus_1", quantity: 7n });
    await planAll();
    const { claimed, held } = await reports.claim(grant, 10);
    expect(claimed).toMatchObject([
      {
        customerId: "cus_1",
        stripeCustomerId: "cus_1",
        eventName: "tokens",
        value: 7n,
        timestampMs: CLOSED_MS,
        before: "planned",
        attempts: 1,
      },
    ]);
    expect(held).toEqual([]);
    expect(await reportRows(pool)).toMatchObject([
      { state: "sending", attempts: 1, first_attempt_at: expect.any(Date) },
    ]);
    expect(await reports.claim(grant, 10)).toEqual({ claimed: [], held: [] });
  });

  test("a customer whose sends keep failing does not keep others from being sent", async () => {
    const { pool, planAll, reports, grant, finish } = await setUp();
    const old = Array.from({ length: 5 }, (_, i) => ({
      customerId: "cus_failing",
      windowStartMs: CLOSED_MS - (60 - i) * 60_000,
    }));
    await addUsage(pool, ...old, { customerId: "cus_healthy" });
    await planAll();
    const first = await only((await reports.claim(grant, 1)).claimed);
    expect(first.customerId).toBe("cus_failing");
    await finish(first, { kind: "unknown", message: "timeout" });
    const next = await reports.claim(grant, 1);
    expect(next.claimed.map((report) => report.customerId)).toEqual(["cus_healthy"]);
    expect((await reports.claim(grant, 10)).claimed).toEqual([]);
  });

  test("takes the tightest deadline first: near the horizon, then oldest usage", async () => {
    const { pool, planAll, reports, grant } = await setUp();
    await addUsage(
      pool,
      { customerId: "cus_young" },
      { customerId: "cus_old", windowStartMs: CLOSED_MS - 33 * 86_400_000 },
      { customerId: "cus_tried" },
    );
    await planAll();
    await pool.query(
      "UPDATE report SET state = 'unknown', first_attempt_at = now() - interval '22 hours' WHERE customer_id = 'cus_tried'",
    );
    const order: string[] = [];
    for (let i = 0; i < 3; i++) order.push((await only((await reports.claim(grant, 1)).claimed)).customerId);
    expect(order).toEqual(["cus_tried", "cus_old", "cus_young"]);
  });

  test("what an earlier leader left being sent is unknown, keeps its first attempt, and is due at once", async () => {
    const { pool, planAll, reports, grant, appoint } = await setUp();
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    const first = await only((await reports.claim(grant, 10)).claimed);
    const before = await only(reportRows(pool));
    await expireLease(pool);
    const next = await appoint();
    const again = await only((await reports.claim(next, 10)).claimed);
    expect(again).toEqual({ ...first, before: "unknown", attempts: 2 });
    expect(await reportRows(pool)).toMatchObject([{ first_attempt_at: before.first_attempt_at }]);
  });

  test.each([
    ["unknown", "22 hours 59 minutes", "sending"],
    ["unknown", "23 hours", "held"],
    ["sending", "23 hours", "held"],
    ["planned", undefined, "sending"],
  ])("a report that is %s, first tried %s ago, becomes %s", async (state, ago, then) => {
    const { pool, planAll, reports, grant, appoint } = await setUp();
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    await reports.claim(grant, 10);
    await pool.query("UPDATE report SET state = $1, first_attempt_at = now() - $2::interval", [state, ago ?? null]);
    await expireLease(pool);
    const step = await reports.claim(await appoint(), 10);
    const row = await only(reportRows(pool));
    expect(row).toMatchObject({ state: then, reason: then === "held" ? "outcome_unknown" : "" });
    expect(step.held).toEqual(then === "held" ? [row.identifier] : []);
    expect(step.claimed).toHaveLength(then === "held" ? 0 : 1);
  });

  test("leaves what waits for its retry", async () => {
    const { pool, planAll, reports, grant, finish } = await setUp();
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "unknown", message: "timeout" });
    expect((await reports.claim(grant, 10)).claimed).toEqual([]);
    await pool.query("UPDATE report SET next_attempt_at = now()");
    expect((await reports.claim(grant, 10)).claimed).toMatchObject([{ before: "unknown", attempts: 2 }]);
  });
});

describe("settle", () => {
  async function claimed(quantity = 7n) {
    const parts = await setUp();
    await addUsage(parts.pool, { customerId: "cus_1", quantity });
    await parts.planAll();
    return { ...parts, report: await only((await parts.reports.claim(parts.grant, 10)).claimed) };
  }
  const windows = async (pool: Pool) => (await pool.query("SELECT total, reported, accepted FROM pending_window")).rows;

  test("what was accepted is added to its window, once, however often it is told", async () => {
    const { pool, finish, report } = await claimed();
    for (let i = 0; i < 3; i++) await finish(report, i === 0 ? { kind: "accepted" } : { kind: "duplicate" });
    expect(await reportRows(pool)).toMatchObject([{ state: "accepted", reason: "" }]);
    expect(await windows(pool)).toEqual([{ total: "7", reported: "7", accepted: "7" }]);
  });

  test("several reports of one window are added up", async () => {
    const { pool, reports, grant, planAll, finish, report } = await claimed();
    await addUsage(pool, { customerId: "cus_1", quantity: 3n });
    await planAll();
    const second = await only((await reports.claim(grant, 10)).claimed);
    const accepted = settle({ kind: "accepted" }, "planned", 1);
    await reports.settle(
      grant,
      [report, second].map((r) => ({ report: r, settlement: accepted })),
    );
    await finish(report, { kind: "accepted" });
    expect(await windows(pool)).toEqual([{ total: "10", reported: "10", accepted: "10" }]);
  });

  test("a throttled first send leaves no first attempt; one of unknown fate does", async () => {
    const { pool, reports, grant, finish, report } = await claimed();
    await finish(report, { kind: "throttled", message: "slower" });
    expect(await reportRows(pool)).toMatchObject([
      { state: "planned", reason: "throttled", first_attempt_at: null, attempts: 1 },
    ]);
    await pool.query("UPDATE report SET next_attempt_at = now()");
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "unknown", message: "timeout" });
    const { first_attempt_at: firstAttempt } = await only(reportRows(pool));
    expect(firstAttempt).toBeInstanceOf(Date);
    await pool.query("UPDATE report SET next_attempt_at = now()");
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "throttled", message: "slower" });
    expect(await reportRows(pool)).toMatchObject([{ state: "unknown", attempts: 3, first_attempt_at: firstAttempt }]);
    expect(await windows(pool)).toEqual([{ total: "7", reported: "7", accepted: "0" }]);
  });

  test("what was refused is held with its reason, and counts as a backlog", async () => {
    const { pool, reports, grant, finish, report } = await claimed();
    await finish(report, { kind: "refused", code: "no_such_customer", message: "No such customer: 'cus_1'" });
    expect(await reportRows(pool)).toMatchObject([
      { state: "held", reason: "no_such_customer", first_attempt_at: null },
    ]);
    expect(await reports.backlog()).toEqual({
      openReports: 0,
      otherSinkReports: 0,
      heldReports: 1,
      unmappedWindows: 0,
      lagMs: 0,
    });
    expect((await reports.claim(grant, 10)).claimed).toEqual([]);
  });

  test("what was given back is due at once, as if it had never been claimed", async () => {
    const { pool, reports, grant, report } = await claimed();
    await reports.settle(grant, [{ report, settlement: giveBack(report.before, report.attempts) }]);
    expect(await reportRows(pool)).toMatchObject([{ state: "planned", first_attempt_at: null, attempts: 0 }]);
    expect((await reports.claim(grant, 10)).claimed).toEqual([report]);
  });
});

describe("a report belongs to the sink that it was sent through", () => {
  async function sentThroughV1(outcome: SinkOutcome) {
    const parts = await setUp();
    await addUsage(parts.pool, { customerId: "cus_1", quantity: 7n });
    await parts.planAll();
    await parts.finish(await only((await parts.reports.claim(parts.grant, 10)).claimed), outcome);
    await parts.pool.query("UPDATE report SET next_attempt_at = now()");
    return { ...parts, stream: postgresReports(parts.pool, LEASE, "stream") };
  }
  const sink = async (pool: Pool) => (await only(reportRows(pool))).sink;

  test("another leaves it alone, counts it, and does not wait for it", async () => {
    const { pool, reports, stream, requests, grant } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    expect(await sink(pool)).toBe("v1");
    expect(await stream.claim(grant, 10)).toEqual({ claimed: [], held: [] });
    expect(await stream.backlog()).toMatchObject({ openReports: 1, otherSinkReports: 1 });
    expect(await reports.backlog()).toMatchObject({ openReports: 1, otherSinkReports: 0 });
    for (const customer of ["cus_1", undefined]) await requests.request(customer);
    await requests.planned(
      grant,
      (await requests.unplanned()).map((request) => request.requestId),
    );
    expect(await requests.complete(grant, "v1")).toBe(0);
    expect(await requests.complete(grant, "stream")).toBe(2);
    expect((await reports.claim(grant, 10)).claimed).toMatchObject([{ before: "unknown", attempts: 2 }]);
  });

  test("another holds it once the sink that it was sent through may not send it again either", async () => {
    const { pool, stream, grant } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    await pool.query("UPDATE report SET first_attempt_at = now() - interval '23 hours'");
    const { claimed, held } = await stream.claim(grant, 10);
    expect([claimed.length, held.length]).toEqual([0, 1]);
    expect(await reportRows(pool)).toMatchObject([{ state: "held", reason: "outcome_unknown" }]);
  });

  test("what was surely not processed may go through any", async () => {
    const { pool, stream, grant, finish } = await sentThroughV1({ kind: "throttled", message: "slower" });
    expect(await sink(pool)).toBe("");
    await finish(await only((await stream.claim(grant, 10)).claimed), { kind: "taken" });
    expect(await reportRows(pool)).toMatchObject([{ state: "sent", sink: "stream" }]);
    // Taken is not counted: only the summaries tell.
    expect((await pool.query("SELECT accepted FROM pending_window")).rows).toEqual([{ accepted: "0" }]);
    expect(await stream.backlog()).toMatchObject({ openReports: 0 });
  });

  test("a throttled resend of what may have been processed stays where it is", async () => {
    const { pool, reports, stream, grant, finish } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    await finish(await only((await reports.claim(grant, 10)).claimed), { kind: "throttled", message: "slower" });
    await pool.query("UPDATE report SET next_attempt_at = now()");
    expect((await stream.claim(grant, 10)).claimed).toEqual([]);
  });

  test("no statement can change it while something of it may have been processed", async () => {
    const { pool } = await sentThroughV1({ kind: "unknown", message: "timeout" });
    for (const change of ["sink = 'stream'", "sink = ''", "sink = 'stream', first_attempt_at = NULL"])
      await expect(pool.query(`UPDATE report SET ${change}`)).rejects.toThrow("frozen");
  });
});
