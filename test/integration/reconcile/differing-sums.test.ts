// Stripe counted less or more than it had accepted: every way in which it can, and what it comes to in the end.
import { describe, expect, test } from "vitest";
import {
  at,
  countReads,
  expectSettled,
  HOUR_MS,
  MINUTE_MS,
  PAST_HOUR_MS,
  startWorld,
  storedDrifts,
  storedReports,
  twoLooks,
  windowSums,
} from "./harness.ts";

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
