import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { StripeEventInbox } from "../../../src/app/ports/accounts.ts";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

const TYPES = ["invoice.paid"];
const MINUTE = 60_000;

let database: TestDatabase;
let inbox: StripeEventInbox;
beforeAll(async () => {
  database = await createTestDatabase();
  inbox = postgresStripeEventInbox(database.pool);
});
afterAll(() => database.close());
beforeEach(() => database.pool.query("TRUNCATE stripe_event"));

function event(eventId: string, type = "invoice.paid") {
  return { eventId, type, createdMs: Date.UTC(2026, 10, 23), objectId: "in_1", payload: `{"id":"${eventId}"}` };
}

/** As if so much time had gone by. */
async function letPass(ms: number): Promise<void> {
  await database.pool.query(
    "UPDATE stripe_event SET next_attempt_at = next_attempt_at - $1 * interval '1 ms', received_at = received_at - $1 * interval '1 ms'",
    [ms],
  );
}

async function states() {
  const result = await database.pool.query("SELECT event_id, state, attempts, last_error FROM stripe_event ORDER BY 1");
  return result.rows;
}

test("stored once, whoever stores it; the first body stays", async () => {
  const other = postgresStripeEventInbox(database.connect());
  const stored = await Promise.all([inbox, other, inbox, other].map((i) => i.store(event("evt_1"))));
  expect(stored.filter(Boolean)).toHaveLength(1);
  expect(await inbox.store({ ...event("evt_1"), payload: "{}" })).toBe(false);
  expect(await inbox.claim(TYPES, 10, MINUTE)).toEqual([{ ...event("evt_1"), attempts: 1 }]);
});

test("an event is in one worker's hands at a time, and comes again when the lease runs out", async () => {
  for (let i = 0; i < 20; i++) await inbox.store(event(`evt_${i}`));
  const claims = await Promise.all(Array.from({ length: 4 }, () => inbox.claim(TYPES, 5, MINUTE)));
  const ids = claims.flat().map((e) => e.eventId);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.length + (await inbox.claim(TYPES, 20, MINUTE)).length).toBe(20);
  expect(await inbox.claim(TYPES, 20, MINUTE)).toEqual([]);
  await letPass(MINUTE);
  const again = await inbox.claim(TYPES, 20, MINUTE);
  expect(again).toHaveLength(20);
  expect(again.every((e) => e.attempts === 2)).toBe(true);
});

test("a type that this version does not apply waits for one that does", async () => {
  await inbox.store(event("evt_thin", "v1.billing.meter.no_meter_found"));
  expect(await inbox.claim(TYPES, 10, MINUTE)).toEqual([]);
  expect(await inbox.claim(["v1.billing.meter.no_meter_found"], 10, MINUTE)).toHaveLength(1);
});

test("failed: again after its delay; for good: never, and listed", async () => {
  await inbox.store(event("evt_1"));
  await inbox.claim(TYPES, 1, MINUTE);
  await inbox.failed("evt_1", "no answer", 5_000);
  expect(await inbox.claim(TYPES, 1, MINUTE)).toEqual([]);
  await letPass(5_000);
  expect(await inbox.claim(TYPES, 1, MINUTE)).toHaveLength(1);
  await inbox.failed("evt_1", "x".repeat(5_000), undefined);
  await letPass(365 * 1440 * MINUTE);
  expect(await inbox.claim(TYPES, 1, MINUTE)).toEqual([]);
  expect(await states()).toEqual([{ event_id: "evt_1", state: "dead", attempts: 2, last_error: "x".repeat(1_000) }]);
});

test("applied is final: a worker that had it before cannot make it fail", async () => {
  await inbox.store(event("evt_1"));
  await inbox.claim(TYPES, 1, MINUTE);
  await inbox.applied("evt_1");
  await inbox.failed("evt_1", "late", undefined);
  await inbox.failed("evt_1", "late", 0);
  await letPass(MINUTE);
  expect(await inbox.claim(TYPES, 1, MINUTE)).toEqual([]);
  expect(await states()).toMatchObject([{ state: "applied", last_error: "" }]);
});

test("old applied events are forgotten, a few at a time; others never", async () => {
  for (const id of ["evt_1", "evt_2", "evt_3"]) await inbox.store(event(id));
  await inbox.store(event("evt_dead"));
  await inbox.store(event("evt_waiting"));
  await inbox.failed("evt_dead", "no", undefined);
  for (const id of ["evt_1", "evt_2", "evt_3"]) await inbox.applied(id);
  expect(await inbox.forgetApplied(MINUTE, 10)).toBe(0);
  await letPass(MINUTE);
  expect(await inbox.forgetApplied(MINUTE, 2)).toBe(2);
  expect(await inbox.forgetApplied(MINUTE, 2)).toBe(1);
  expect((await states()).map((row) => row.event_id)).toEqual(["evt_dead", "evt_waiting"]);
});
