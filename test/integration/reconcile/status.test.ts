import { expect, test } from "vitest";
import { readStatus } from "../../../src/postgres/status.ts";
import { startWorld, storedReports } from "./harness.ts";

test("what differs and is left is shown, by explanation and what keeps it from being repaired, with the largest", async () => {
  const world = await startWorld({ repairLimit: 1n });
  const { pool, customer, use, flush, later, pass, vanish, foreign, book } = world;
  expect((await readStatus(pool)).drifts).toEqual([]);
  await use(3, 5n);
  await use(9, 7n);
  await flush();
  for (const { identifier } of await storedReports(pool)) await vanish(identifier);
  await use(40, 1n);
  await flush();
  await foreign(50, 3n);
  await later();
  await pass();
  const { drifts } = await readStatus(pool);
  expect(drifts).toMatchObject([
    {
      explanation: "never_sent",
      hindrance: "limit",
      spans: 2,
      example: { stripeCustomerId: customer, eventName: "tokens", difference: "-7" },
    },
    { explanation: "foreign", hindrance: "foreign", spans: 1, example: { difference: "3" } },
  ]);
  const state = await book.state();
  expect(state.openDrifts).toEqual({ never_sent: 2, unknown: 0, refused: 0, counted_twice: 0, foreign: 1 });
  // What is missing is not confirmed; what is there is.
  expect(state.oldestUnreconciledMs).toBeGreaterThan(600_000);
  expect((await storedReports(pool)).filter((r) => r.reconciled_at !== null).map(({ value }) => value)).toEqual(["1"]);
});
