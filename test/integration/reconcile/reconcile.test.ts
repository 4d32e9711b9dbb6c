// Reconciliation over real Postgres, the official SDK and the simulated Stripe: which spans are compared, when, and what is left to a person.
import { describe, expect, test } from "vitest";
import {
  at,
  countReads,
  expectSettled,
  MINUTE_MS,
  PAST_HOUR_MS,
  startWorld,
  storedDrifts,
  storedReports,
  twoLooks,
} from "./harness.ts";

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
