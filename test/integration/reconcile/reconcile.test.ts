// Reconciliation over real Postgres, the official SDK and the simulated Stripe: every way in which Stripe's sums can differ, and what it
// comes to in the end.
import { describe, expect, test } from "vitest";
import {
  countReads,
  expectSettled,
  HOUR_MS,
  MINUTE_MS,
  PAST_HOUR_MS,
  startWorld,
  storedDrifts,
  storedReports,
  windowSums,
} from "./harness.ts";

/** The one at an index. */
function at<T>(rows: readonly T[], i: number): T {
  return rows[i] ?? expect.fail(`no row ${i}`);
}

/** Looks, waits for the second look, looks again, and sends what that planned. */
async function twoLooks(world: Awaited<ReturnType<typeof startWorld>>): Promise<void> {
  await world.pass();
  await world.later();
  await world.pass();
  await world.flush();
}

describe("sums agree", () => {
  test("reports are confirmed once everything in their hour was settled for the lag, and then looked at no more", async () => {
    const world = await startWorld();
    const { pool, use, flush, pass, later, summaries } = world;
    await use(3, 5n);
    await use(40, 7n);
    await use(3, 2n, { eventName: "requests" });
    await flush();
    const tooEarly = countReads(summaries);
    await pass({ summaries: tooEarly });
    expect(tooEarly.reads).toBe(0);
    expect((await storedReports(pool)).map((r) => r.reconciled_at)).toEqual([null, null, null]);
    await later();
    await pass();
    expect(await storedReports(pool)).toMatchObject(
      [1, 2, 3].map(() => ({ state: "accepted", reconciled_at: expect.any(Date) })),
    );
    const counting = countReads(summaries);
    await later();
    await pass({ summaries: counting });
    expect(counting.reads).toBe(0);
    expect(await storedDrifts(pool)).toEqual([]);
  });

  test.each([
    ["no period ends in it", [], 0],
    ["a period ended in it", [25.5], 1],
    ["a period ends in it a little later", [35.5], 0],
    ["a period ended in it before", [5], 0],
  ])(
    "an hour that is not over waits, unless what was sent is of a period that is: %s",
    async (_, boundaries, confirmed) => {
      const world = await startWorld({}, { databaseNowMs: PAST_HOUR_MS + 35 * MINUTE_MS });
      const { pool, customer, use, flush, later, pass } = world;
      for (const minute of boundaries) {
        await pool.query("INSERT INTO period_boundary VALUES ($1, $2)", [
          customer,
          new Date(PAST_HOUR_MS + minute * MINUTE_MS),
        ]);
      }
      await use(25, 5n, { windowMs: 30_000 });
      await flush();
      await later();
      await pass();
      expect((await storedReports(pool)).filter((r) => r.reconciled_at !== null)).toHaveLength(confirmed);
    },
  );

  test("a hundred hours are one read", async () => {
    const world = await startWorld();
    const { pool, use, flush, later, pass, summaries } = world;
    for (let hour = 0; hour < 100; hour++) await use(-hour * 60, 1n);
    await flush();
    await later();
    const counting = countReads(summaries);
    await pass({ summaries: counting });
    expect(counting.reads).toBe(1);
    expect((await storedReports(pool)).filter((r) => r.reconciled_at === null)).toEqual([]);
  });
});

describe("Stripe adds up late", () => {
  test("later than the lag: a drift is seen, nothing is repaired, and the drift is gone", async () => {
    const world = await startWorld();
    const { pool, simulator, use, flush, later, pass } = world;
    await simulator.setSettings({ summaryDelayMs: 15 * MINUTE_MS });
    await use(3, 5n);
    await flush();
    await later();
    await simulator.advanceClock(11 * MINUTE_MS);
    await pass();
    expect(await storedDrifts(pool)).toMatchObject([
      {
        explanation: "never_sent",
        state: "open",
        hindrance: "unconfirmed",
        expected: 5,
        counted: 0,
        from_minute: 3,
        to_minute: 4,
      },
    ]);
    await pass();
    await later();
    await simulator.advanceClock(11 * MINUTE_MS);
    await pass();
    expect(await storedDrifts(pool)).toMatchObject([{ state: "gone" }]);
    expect(await storedReports(pool)).toHaveLength(1);
    await expectSettled(world);
  });
});

describe("Stripe counted less", () => {
  test("than it had accepted: booked, and reported anew, once", async () => {
    const world = await startWorld();
    const { pool, use, flush, later, vanish } = world;
    await use(3, 5n);
    await use(17, 7n);
    await use(59, 9n);
    await flush();
    await vanish(at(await storedReports(pool), 1).identifier);
    await later();
    await twoLooks(world);
    expect(await storedDrifts(pool)).toEqual([
      {
        explanation: "never_sent",
        state: "repaired",
        hindrance: "",
        expected: 7,
        counted: 0,
        from_minute: 17,
        to_minute: 18,
      },
    ]);
    expect((await storedReports(pool)).map(({ kind, value, state }) => [kind, value, state])).toEqual([
      ["usage", "5", "accepted"],
      ["usage", "7", "accepted"],
      ["drift", "-7", "accepted"],
      ["repair", "7", "accepted"],
      ["usage", "9", "accepted"],
    ]);
    await expectSettled(world);
    await world.later();
    await twoLooks(world);
    expect(await storedReports(pool)).toHaveLength(5);
    expect(await storedDrifts(pool)).toHaveLength(1);
    // The window goes on as if nothing had been booked in it.
    await use(17, 4n);
    await flush();
    await expectSettled(world);
  });

  test("of late usage, whose windows are not of the minutes that it was billed in", async () => {
    const world = await startWorld();
    const { pool, customer, use, flush, later } = world;
    await use(-600, 12n);
    await pool.query("UPDATE pending_window SET reported = 12, accepted = 12, next_sequence = 2");
    await pool.query(
      `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, late,
         state, first_attempt_at, settled_at, lease_epoch)
       SELECT 'late-' || minute, $1, $1, 'tokens', $2, minute / 10 - 1, 6, $3::timestamptz + minute * interval '1 minute', true, 'accepted',
         now(), now(), 1 FROM unnest(ARRAY[10, 20]) AS minute`,
      [customer, new Date(PAST_HOUR_MS - 600 * MINUTE_MS), new Date(PAST_HOUR_MS)],
    );
    await later();
    await twoLooks(world);
    const repairs = await pool.query(
      `SELECT late, (extract(epoch FROM event_timestamp - $1::timestamptz) / 60)::int AS minute, window_start AS at
       FROM report WHERE kind = 'repair' ORDER BY 2`,
      [new Date(PAST_HOUR_MS)],
    );
    const window = new Date(PAST_HOUR_MS - 600 * MINUTE_MS);
    expect(repairs.rows).toEqual([
      { late: true, minute: 10, at: window },
      { late: true, minute: 20, at: window },
    ]);
    await flush();
    await expectSettled(world);
  });

  test("an error report covers the sends: the repair is held with Stripe's code until somebody mends the cause", async () => {
    const world = await startWorld();
    const { pool, use, flush, later, vanish, counted } = world;
    await use(3, 5n);
    await flush();
    await vanish(at(await storedReports(pool), 0).identifier);
    await pool.query(
      `INSERT INTO meter_error (event_id, code, event_name, error_count, validation_start, validation_end, samples)
       SELECT 'evt_1', 'meter_event_invalid_value', 'tokens', 1, first_attempt_at - interval '21 minutes', first_attempt_at - interval '21 minutes', '[]'
       FROM report`,
    );
    await later();
    await pool.query(
      "UPDATE meter_error SET validation_start = r.first_attempt_at, validation_end = r.first_attempt_at FROM report r",
    );
    await world.pass();
    await later();
    await pool.query(
      "UPDATE meter_error SET validation_start = r.first_attempt_at, validation_end = r.first_attempt_at FROM report r",
    );
    await world.pass();
    await flush();
    expect(await storedDrifts(pool)).toMatchObject([{ explanation: "refused", state: "repaired" }]);
    expect(await storedReports(pool)).toMatchObject([
      { kind: "usage", state: "accepted" },
      { kind: "drift", value: "-5" },
      { kind: "repair", value: "5", state: "held", reason: "meter_event_invalid_value" },
    ]);
    expect({ ...(await windowSums(pool)), counted: counted() }).toEqual({ total: 5n, accepted: 0n, counted: 0n });
  });
});

describe("the stream, which says nothing of what becomes of events", () => {
  const STREAM = "POST /v2/billing/meter_event_stream";
  /** Until Stripe has validated what it took. */
  const VALIDATED_MS = 21_000;

  test("what it took is accepted once Stripe's sums show it, and only then", async () => {
    const world = await startWorld({}, { sink: "stream" });
    const { pool, simulator, use, flush, later, pass } = world;
    await use(3, 5n);
    await use(40, 7n);
    await flush();
    await simulator.advanceClock(VALIDATED_MS);
    expect(await windowSums(pool)).toEqual({ total: 12n, accepted: 0n });
    await pass();
    expect((await storedReports(pool)).map(({ state }) => state)).toEqual(["sent", "sent"]);
    await later();
    await pass();
    expect((await storedReports(pool)).map(({ state }) => state)).toEqual(["accepted", "accepted"]);
    await expectSettled(world);
  });

  test("what Stripe lost is sent again, with its neighbours, under the same identifiers, while Stripe knows these", async () => {
    const world = await startWorld({}, { sink: "stream" });
    const { pool, simulator, use, flush, later, pass, counted } = world;
    simulator.addFault({ route: STREAM, kind: "dropped", next: 1, events: 1 });
    await use(3, 5n);
    await use(3, 6n, { eventName: "requests" });
    await use(40, 7n);
    await flush();
    await simulator.advanceClock(VALIDATED_MS);
    const lost = 18n - counted() - counted("requests");
    expect(lost).toBeGreaterThan(0n);
    const before = (await storedReports(pool)).map(({ identifier }) => identifier);
    for (let look = 0; look < 2; look++) {
      await later();
      await pass();
      await flush();
      await simulator.advanceClock(VALIDATED_MS);
    }
    expect([counted("requests"), counted()]).toEqual([6n, 12n]);
    expect((await storedReports(pool)).map(({ identifier }) => identifier)).toEqual(before);
    await later();
    await pass();
    expect((await storedReports(pool)).map(({ state }) => state)).toEqual(["accepted", "accepted", "accepted"]);
    expect((await storedDrifts(pool)).map(({ state }) => state)).toEqual(["gone"]);
  });

  test("what it never counts is made up for once Stripe may have forgotten the identifier, and not before", async () => {
    const world = await startWorld({}, { sink: "stream" });
    const { pool, simulator, use, flush, later, pass, age, counted } = world;
    simulator.addFault({ route: STREAM, kind: "dropped", next: 1, burnt: true });
    await use(3, 5n);
    await flush();
    for (let look = 0; look < 3; look++) {
      await simulator.advanceClock(VALIDATED_MS);
      await later();
      await pass();
      await flush();
    }
    expect(await storedReports(pool)).toMatchObject([{ kind: "usage", state: "sent" }]);
    expect(counted()).toBe(0n);
    await simulator.advanceClock(23 * HOUR_MS);
    await age(23 * HOUR_MS);
    await twoLooks(world);
    // The session ran out with Stripe's clock: the first send was turned away.
    await later();
    await flush();
    await simulator.advanceClock(VALIDATED_MS);
    expect(counted()).toBe(5n);
    await later();
    await pass();
    expect((await storedReports(pool)).map(({ kind, state }) => [kind, state])).toEqual([
      ["usage", "accepted"],
      ["drift", "accepted"],
      ["repair", "accepted"],
    ]);
    expect(await windowSums(pool)).toEqual({ total: 5n, accepted: 5n });
  });
});

describe("a report of unknown fate, 23 h 1 min after its first attempt", () => {
  test.each([
    ["Stripe had counted it", true],
    ["Stripe had not", false],
  ])("%s: it is not sent again before the summaries were read, nor after", async (_, processed) => {
    const world = await startWorld();
    const { pool, simulator, use, flush, age, later, counted } = world;
    simulator.addFault({ route: "POST /v1/billing/meter_events", kind: "server_error", processed });
    await use(3, 5n);
    await flush();
    const [unknown] = await storedReports(pool);
    expect(unknown).toMatchObject({ state: "unknown" });
    simulator.clearFaults();
    await simulator.advanceClock(23 * HOUR_MS + MINUTE_MS);
    await age(23 * HOUR_MS + MINUTE_MS);
    await flush();
    expect(await storedReports(pool)).toMatchObject([{ state: "held", reason: "outcome_unknown" }]);
    expect((await pool.query("SELECT reason FROM reconcile_request")).rows).toEqual([{ reason: "outcome_unknown" }]);
    expect(simulator.meterEvents()).toHaveLength(processed ? 1 : 0);
    await later();
    await twoLooks(world);
    expect(counted()).toBe(5n);
    const reports = await storedReports(pool);
    expect(reports[0]).toMatchObject({ identifier: unknown?.identifier, state: "accepted" });
    expect(reports.map(({ kind, value }) => [kind, value])).toEqual(
      processed
        ? [["usage", "5"]]
        : [
            ["usage", "5"],
            ["drift", "-5"],
            ["repair", "5"],
          ],
    );
    expect(simulator.meterEvents({ identifier: unknown?.identifier })).toHaveLength(processed ? 1 : 0);
    expect(await storedDrifts(pool)).toMatchObject(processed ? [] : [{ explanation: "unknown", state: "repaired" }]);
    await expectSettled(world);
  });

  test("several, of which Stripe had counted some", async () => {
    const world = await startWorld();
    const { pool, simulator, use, flush, age, later } = world;
    const route = "POST /v1/billing/meter_events";
    await use(3, 5n);
    await flush();
    for (const [quantity, processed] of [
      [7n, true],
      [9n, false],
      [11n, true],
    ] as const) {
      simulator.addFault({ route, kind: "server_error", processed });
      await use(3, quantity);
      await pool.query("UPDATE report SET next_attempt_at = now() + interval '1 hour' WHERE state = 'unknown'");
      await pool.query("UPDATE report SET state = 'held', reason = 'waits' WHERE state = 'unknown'");
      await flush();
      simulator.clearFaults();
    }
    await pool.query("UPDATE report SET state = 'unknown' WHERE state = 'held'");
    await simulator.advanceClock(23 * HOUR_MS + MINUTE_MS);
    await age(23 * HOUR_MS + MINUTE_MS);
    await flush();
    await later();
    await twoLooks(world);
    expect(await storedDrifts(pool)).toMatchObject([
      { explanation: "unknown", state: "repaired", expected: 32, counted: 23 },
    ]);
    await expectSettled(world);
  });
});

describe("Stripe counted more", () => {
  test("an identifier that it had forgotten, counted twice: taken back by a negative report", async () => {
    const world = await startWorld();
    const { pool, simulator, use, flush, age, foreign, counted } = world;
    await use(3, 5n);
    await flush();
    const [{ identifier } = at([], 0)] = await storedReports(pool);
    await simulator.advanceClock(25 * HOUR_MS);
    await age(25 * HOUR_MS);
    await foreign(3, 5n, { identifier });
    expect(counted()).toBe(10n);
    await twoLooks(world);
    expect(await storedDrifts(pool)).toMatchObject([
      { explanation: "counted_twice", state: "repaired", expected: 5, counted: 10 },
    ]);
    expect((await storedReports(pool)).map(({ kind, value }) => [kind, value])).toEqual([
      ["usage", "5"],
      ["drift", "5"],
      ["repair", "-5"],
    ]);
    await expectSettled(world);
  });

  test("an event of the last day, counted twice: cancelled", async () => {
    const world = await startWorld();
    const { pool, simulator, use, flush, later, foreign, counted } = world;
    await use(3, 5n);
    await flush();
    const { identifier } = at(await storedReports(pool), 0);
    await simulator.setSettings({ identifierKeptMs: 0 });
    await foreign(3, 5n, { identifier });
    expect(counted()).toBe(10n);
    await later();
    await twoLooks(world);
    expect((await storedReports(pool)).map(({ kind, value, origin }) => [kind, value, origin])).toEqual([
      ["usage", "5", null],
      ["drift", "5", null],
      ["cancel", "-5", identifier],
    ]);
    // The event is gone at Stripe: nothing was sent against it.
    expect(simulator.meterEvents().map(({ value }) => value)).toEqual(["5", "5"]);
    await expectSettled(world);
  });

  test("a repair that came too early, since Stripe added up very late: cancelled", async () => {
    const world = await startWorld();
    const { pool, simulator, use, flush, later } = world;
    await use(3, 5n);
    await flush();
    await simulator.setSettings({ summaryDelayMs: 20 * HOUR_MS });
    await later();
    await twoLooks(world);
    await simulator.setSettings({ summaryDelayMs: 0 });
    await later();
    await twoLooks(world);
    expect((await storedReports(pool)).map(({ kind, value }) => [kind, value])).toEqual([
      ["usage", "5"],
      ["drift", "-5"],
      ["repair", "5"],
      ["drift", "5"],
      ["cancel", "-5"],
    ]);
    await expectSettled(world);
  });

  test("foreign events are shown and left alone, and looked at less and less often", async () => {
    const world = await startWorld();
    const { pool, use, flush, later, foreign, pass, counted, summaries } = world;
    await use(3, 5n);
    await flush();
    await foreign(40, 3n);
    await later();
    await twoLooks(world);
    expect(await storedDrifts(pool)).toMatchObject([
      { explanation: "foreign", state: "open", hindrance: "foreign", expected: 0, counted: 3 },
    ]);
    expect(counted()).toBe(8n);
    // What is ours is confirmed all the same.
    expect((await storedReports(pool)).map((r) => r.reconciled_at)).toEqual([expect.any(Date)]);
    const counting = countReads(summaries);
    const looks: number[] = [];
    for (let i = 0; i < 12; i++) {
      await later();
      await pass({ summaries: counting });
      looks.push(counting.reads);
    }
    // A look is three reads: the hour, and its halves.
    expect(looks.at(-1)).toBeLessThanOrEqual(4 * 3);
    expect(looks.at(-1)).toBeGreaterThan(3);
  });
});

describe("a billing period ends in the hour", () => {
  /** The period ends 30 s into minute 20. */
  async function startWithBoundary() {
    const world = await startWorld();
    const boundaryMs = PAST_HOUR_MS + 20 * MINUTE_MS + 30_000;
    await world.pool.query("INSERT INTO period_boundary VALUES ($1, $2)", [world.customer, new Date(boundaryMs)]);
    const piece = { windowMs: 30_000 };
    const usePieces = async (before: bigint, after: bigint) => {
      await world.use(20, before, piece);
      await world.use(20.5, after, piece);
    };
    return { ...world, usePieces };
  }

  test("within its minute, what may be of either period is left open", async () => {
    const world = await startWithBoundary();
    const { pool, usePieces, flush, later, vanish, counted } = world;
    await usePieces(5n, 5n);
    await flush();
    await vanish(at(await storedReports(pool), 0).identifier);
    await later();
    await twoLooks(world);
    expect(await storedDrifts(pool)).toMatchObject([
      { state: "open", hindrance: "boundary", expected: 10, counted: 5, from_minute: 20, to_minute: 21 },
    ]);
    expect(counted()).toBe(5n);
  });

  test("within its minute, what can only be of one period is repaired in that one", async () => {
    const world = await startWithBoundary();
    const { pool, usePieces, flush, later, vanish } = world;
    await usePieces(5n, 7n);
    await flush();
    await vanish(at(await storedReports(pool), 1).identifier);
    await later();
    await twoLooks(world);
    const seconds = "SELECT extract(second FROM event_timestamp)::int AS second FROM report WHERE kind = 'repair'";
    expect((await pool.query(seconds)).rows).toEqual([{ second: 30 }]);
    await expectSettled(world);
  });

  test("nothing missing before is made up for by an excess after", async () => {
    const world = await startWithBoundary();
    const { pool, use, flush, later, vanish, foreign } = world;
    await use(3, 5n);
    await use(40, 7n);
    await flush();
    await vanish(at(await storedReports(pool), 0).identifier);
    await foreign(50, 5n);
    await later();
    await twoLooks(world);
    expect(await storedDrifts(pool)).toMatchObject([
      { explanation: "never_sent", state: "repaired", from_minute: 3 },
      { explanation: "foreign", state: "open", counted: 5 },
    ]);
  });
});

test("beyond the limit nothing is repaired by itself", async () => {
  const world = await startWorld({ repairLimit: 10n });
  const { pool, use, flush, later, vanish } = world;
  await use(3, 11n);
  await use(9, 10n);
  await flush();
  for (const { identifier } of await storedReports(pool)) await vanish(identifier);
  await later();
  await twoLooks(world);
  expect(await storedDrifts(pool)).toMatchObject([
    { state: "open", hindrance: "limit", from_minute: 3 },
    { state: "repaired", from_minute: 9 },
  ]);
});

test("a drift that is left to a person keeps no other of its hour from its second look", async () => {
  const world = await startWorld({ repairLimit: 10n });
  const { pool, use, flush, later, pass, vanish } = world;
  await use(3, 11n);
  await flush();
  for (const { identifier } of await storedReports(pool)) await vanish(identifier);
  await later();
  await twoLooks(world);
  const seldom = () => pool.query("UPDATE drift SET look_at = now() + interval '1 day' WHERE hindrance = 'limit'");
  await seldom();
  await use(9, 10n);
  await flush();
  for (const { identifier, value } of await storedReports(pool)) if (value === "10") await vanish(identifier);
  for (let look = 0; look < 2; look += 1) {
    await later();
    await seldom();
    await pass();
  }
  expect(await storedDrifts(pool)).toMatchObject([
    { state: "open", hindrance: "limit", from_minute: 3 },
    { state: "repaired", from_minute: 9 },
  ]);
});

test("a report that is sent while the sums are read makes its hour wait", async () => {
  const world = await startWorld();
  const { pool, use, flush, later, pass, summaries } = world;
  await use(3, 5n);
  await flush();
  await later();
  const sendingMeanwhile = {
    ...summaries,
    hours: async (...args: Parameters<typeof summaries.hours>) => {
      const sums = await summaries.hours(...args);
      await use(9, 7n);
      await flush();
      return sums;
    },
  };
  await pass({ summaries: sendingMeanwhile });
  expect((await storedReports(pool)).map((r) => r.reconciled_at)).toEqual([null, null]);
  expect(await storedDrifts(pool)).toEqual([]);
  await expectSettled(world);
});
