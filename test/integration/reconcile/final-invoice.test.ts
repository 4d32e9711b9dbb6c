// Drift in a period whose invoice is final.
import { expect, test } from "vitest";
import { retryHeld } from "../../../src/postgres/report-desk.ts";
import { HOUR_MS, PAST_HOUR_MS, startWorld, storedReports, type World } from "./harness.ts";

/** An event of ours is counted twice, and that is seen. */
async function countTwice({ pool, simulator, use, flush, foreign, later }: World): Promise<string> {
  await use(3, 5n);
  await flush();
  const [{ identifier } = expect.fail("no report")] = await storedReports(pool);
  await simulator.setSettings({ identifierKeptMs: 0 });
  await foreign(3, 5n, { identifier });
  await later();
  return identifier;
}

async function saveInvoice({ pool, customer }: World): Promise<void> {
  await pool.query(
    `INSERT INTO invoice (invoice_id, stripe_customer_id, subscription_id, status, finalized_at)
     VALUES ('in_1', $1, 'sub_1', 'paid', $2)`,
    [customer, new Date(PAST_HOUR_MS + 2 * HOUR_MS)],
  );
  await pool.query(
    `INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed)
     VALUES ('in_1', 'tokens', $2, $3, $1, 10)`,
    [customer, new Date(PAST_HOUR_MS - 24 * HOUR_MS), new Date(PAST_HOUR_MS + HOUR_MS)],
  );
}

const kinds = async ({ pool }: World) =>
  (await storedReports(pool)).map(({ kind, value, state }) => [kind, value, state]);
const replace = ({ reports, tenure }: World) =>
  reports.replaceClosed(tenure.grant, 10, { deploymentId: "test", lateUsage: "current_period" });

test("an event that was billed twice is not cancelled any more, but credited in the open period", async () => {
  const world = await startWorld();
  await countTwice(world);
  await saveInvoice(world);
  await world.pass();
  await world.later();
  await world.pass();
  expect(await replace(world)).toMatchObject([{ kind: "retry", value: -5n, late: true }]);
  await world.flush();
  expect(await kinds(world)).toEqual([
    ["usage", "5", "accepted"],
    ["drift", "5", "accepted"],
    ["repair", "-5", "superseded"],
    ["retry", "-5", "accepted"],
  ]);
  expect(world.counted()).toBe(5n);
});

test("a cancel whose invoice is final before it was sent becomes a credit in the open period", async () => {
  const world = await startWorld();
  const identifier = await countTwice(world);
  await world.pass();
  await world.later();
  await world.pass();
  expect(await kinds(world)).toMatchObject([{}, {}, ["cancel", "-5", "planned"]]);
  await saveInvoice(world);
  expect(await replace(world)).toMatchObject([{ kind: "retry", value: -5n, late: true }]);
  await world.flush();
  // The event itself stays.
  expect(world.simulator.meterEvents().filter((event) => event.identifier === identifier)).toHaveLength(2);
  expect(world.counted()).toBe(5n);
});

test("a cancel that Stripe refused is seen by no comparison, since it is booked: its retry takes back the excess", async () => {
  const world = await startWorld();
  const { pool, counted, later, pass, flush } = world;
  await countTwice(world);
  await pass();
  await later();
  await pass();
  await pool.query(
    "UPDATE report SET state = 'held', reason = 'cannot_cancel', settled_at = now() WHERE kind = 'cancel'",
  );
  await pool.query(
    `INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason, apply)
     VALUES ($1, 'tokens', $2, $3, 'operator', true)`,
    [world.customer, new Date(PAST_HOUR_MS), new Date(PAST_HOUR_MS + HOUR_MS)],
  );
  await later();
  await pass();
  await flush();
  expect(counted()).toBe(10n);
  const held = (await storedReports(pool)).filter(({ state }) => state === "held");
  await retryHeld(
    pool,
    "test",
    held.map(({ identifier }) => identifier),
  );
  await flush();
  expect(counted()).toBe(5n);
});
