// Reports whose fate no answer told: only Stripe's sums do.
import { describe, expect, test } from "vitest";
import {
  expectSettled,
  HOUR_MS,
  MINUTE_MS,
  startWorld,
  storedDrifts,
  storedReports,
  twoLooks,
  windowSums,
} from "./harness.ts";

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
