// A leader dies at each numbered step of a reconciliation pass, or its lease is lost; the next pass finishes, and nothing is repaired twice.
import { describe, expect, test } from "vitest";
import type { MeterSummaries, Reconciliation } from "../../../src/app/ports/reconciliation.ts";
import { StaleLeaseError } from "../../../src/app/ports/reports.ts";
import { expireLease } from "../flush/harness.ts";
import { expectSettled, HOUR_MS, startWorld, storedDrifts, storedReports, type World } from "./harness.ts";

/** One customer's meter with everything that a pass can meet: sums that agree, one missing, two of unknown fate. */
async function startTroubled(): Promise<World> {
  const world = await startWorld();
  const { pool, simulator, use, flush, age, vanish } = world;
  await use(3, 5n);
  await use(17, 7n);
  await flush();
  const missing = (await storedReports(pool))[1] ?? expect.fail();
  const route = "POST /v1/billing/meter_events";
  simulator.addFault({ route, kind: "server_error", processed: true });
  await use(40, 9n);
  await flush();
  simulator.clearFaults();
  simulator.addFault({ route, kind: "server_error", processed: false });
  await use(-30, 11n);
  await pool.query("UPDATE report SET state = 'held' WHERE state = 'unknown'");
  await flush();
  simulator.clearFaults();
  await pool.query("UPDATE report SET state = 'unknown' WHERE state = 'held'");
  await vanish(missing.identifier);
  await simulator.advanceClock(24 * HOUR_MS);
  await age(24 * HOUR_MS);
  await flush();
  return world;
}

class Crash extends Error {}
const die = async (): Promise<never> => {
  throw new Crash("killed");
};

type Parts = { book: Reconciliation; summaries: MeterSummaries };
const crashes: Readonly<Record<string, (parts: Parts) => Partial<Parts>>> = {
  "before 1, choose": ({ book }) => ({ book: { ...book, due: die } }),
  "after 1, choose": ({ summaries }) => ({ summaries: { ...summaries, hours: die } }),
  "within 2, read": ({ summaries }) => ({ summaries: { ...summaries, sum: die } }),
  "after 2, read": ({ book }) => ({ book: { ...book, settle: die } }),
  "after 3, settle": ({ book }) => ({ book: { ...book, settle: (...args) => book.settle(...args).then(die) } }),
  "after the second transaction of 3": ({ book }) => {
    let calls = 0;
    const settle: Reconciliation["settle"] = async (...args) => {
      const verdicts = await book.settle(...args);
      return ++calls === 2 ? die() : verdicts;
    };
    return { book: { ...book, settle } };
  },
  "before 4, answer": ({ book }) => ({ book: { ...book, answered: die } }),
  "after 4, answer": ({ book }) => ({ book: { ...book, answered: (...args) => book.answered(...args).then(die) } }),
};

describe("a pass dies, the next one finishes, nothing is repaired twice", () => {
  test.each(Object.keys(crashes))("%s", async (step) => {
    const world = await startTroubled();
    const { pool, pass, later, flush } = world;
    const crash = crashes[step] ?? expect.fail();
    // At the first look, which only stores what it finds, and at the second, which repairs.
    for (let look = 0; look < 2; look++) {
      await later();
      await pass(crash(world)).catch((cause: unknown) => expect(cause).toBeInstanceOf(Crash));
      await later();
      await pass();
    }
    await flush();
    await expectSettled(world);
    expect(await storedDrifts(pool)).toMatchObject([
      { explanation: "unknown", state: "repaired", expected: 11, counted: 0 },
      { explanation: "never_sent", state: "repaired", expected: 7, counted: 0 },
    ]);
    const kinds = (await storedReports(pool)).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "repair")).toHaveLength(2);
    expect(kinds.filter((kind) => kind === "drift")).toHaveLength(2);
  });
});

test("a leader that lost its lease writes nothing", async () => {
  const world = await startTroubled();
  const { pool, pass, later, book } = world;
  await later();
  await expireLease(pool);
  await pool.query("UPDATE lease SET epoch = epoch + 1");
  const before = await storedReports(pool);
  await expect(pass()).rejects.toBeInstanceOf(StaleLeaseError);
  await expect(pass({ book: { ...book, cutRequests: async () => {} } })).rejects.toBeInstanceOf(StaleLeaseError);
  expect(await storedReports(pool)).toEqual(before);
  expect(await storedDrifts(pool)).toEqual([]);
});
