// Each row of the sums is changed, lost or made up: verify finds it, rebuild mends it, and what it cannot mend it leaves and says.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { acceptAll, apply, columnsOf, learn, planAll, rebuild, SHARDS, verify, voidRecord } from "./harness.ts";

const NOON = Date.UTC(2026, 9, 12, 12);

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
});
afterAll(() => database.close());

let customers = 0;

/** Two days, a boundary within a minute, a void, and all of it reported and accepted but the last record. */
async function customer(): Promise<string> {
  const customerId = `cus_audit${customers++}`;
  const at = (ms: number, input_tokens: bigint) =>
    usageRecord({ customerId, eventTimeMs: NOON + ms, measurements: { input_tokens }, labels: { team: "red" } });
  const wrong = at(1_000, 100n);
  await learn(database.pool, customerId, [NOON + 30_000]);
  await apply(database.pool, [at(0, 1n), wrong, at(40_000, 2n), at(16 * 60_000, 4n), at(86_400_000, 8n)]);
  await voidRecord(database.pool, wrong);
  await planAll(database.pool, customerId);
  await acceptAll(database.pool, customerId);
  await apply(database.pool, [at(2_000, 16n)]);
  return customerId;
}

const first = "customer_id = $1 AND window_start = (SELECT min(window_start) FROM {} WHERE customer_id = $1)";
const firstOf = (table: string) => first.replaceAll("{}", table);
const series = "(SELECT series_id FROM series WHERE customer_id = $1 AND meter = 'input_tokens')";
const QUARTER_HOUR = "rollup_quarter_hour";
const DAY = "rollup_day";
const PENDING = "pending_window";

/** What is spoiled, how, and the columns by which it is found. */
const REBUILT: readonly [string, string, readonly string[]][] = [
  ...[QUARTER_HOUR, DAY].flatMap((table): [string, string, readonly string[]][] => [
    [
      `${table}: a quantity changed`,
      `UPDATE ${table} SET quantity = quantity + 1 WHERE ${firstOf(table)} AND series_id = ${series}`,
      [`${table}.quantity`],
    ],
    [
      `${table}: a count changed`,
      `UPDATE ${table} SET record_count = record_count - 1 WHERE ${firstOf(table)} AND series_id = ${series}`,
      [`${table}.record_count`],
    ],
    [
      `${table}: rows lost`,
      `DELETE FROM ${table} WHERE ${firstOf(table)}`,
      [`${table}.quantity`, `${table}.record_count`],
    ],
    [
      `${table}: all rows lost`,
      `DELETE FROM ${table} WHERE customer_id = $1`,
      [`${table}.quantity`, `${table}.record_count`],
    ],
    [
      `${table}: a row made up`,
      `INSERT INTO ${table} SELECT customer_id, window_start + interval '7 min', gen_random_uuid(), 5, 1 FROM ${table} WHERE ${firstOf(table)} LIMIT 1`,
      [`${table}.quantity`, `${table}.record_count`],
    ],
    [
      `${table}: a row of the same sums under another series`,
      `UPDATE ${table} SET series_id = gen_random_uuid() WHERE ${firstOf(table)} AND series_id = ${series}`,
      [`${table}.quantity`, `${table}.record_count`],
    ],
    [
      `${table}: a row moved`,
      `UPDATE ${table} SET window_start = window_start + interval '1 s' WHERE ${firstOf(table)} AND series_id = ${series}`,
      [`${table}.quantity`, `${table}.record_count`],
    ],
  ]),
  [
    "series: a row changed",
    "UPDATE series SET model = 'other' WHERE customer_id = $1 AND meter = 'requests'",
    ["series.row"],
  ],
  [
    "series: labels changed",
    "UPDATE series SET labels = '{}' WHERE customer_id = $1 AND meter = 'requests'",
    ["series.row"],
  ],
  ["series: a row lost", "DELETE FROM series WHERE customer_id = $1 AND meter = 'requests'", ["series.row"]],
  [
    `${PENDING}: a total changed`,
    `UPDATE ${PENDING} SET total = total + 7 WHERE ${firstOf(PENDING)}`,
    [`${PENDING}.total`],
  ],
  [
    `${PENDING}: an end changed`,
    `UPDATE ${PENDING} SET window_end = window_end + interval '30 s' WHERE ${firstOf(PENDING)}`,
    [`${PENDING}.window_end`],
  ],
  [
    `${PENDING}: a row lost that was reported`,
    `DELETE FROM ${PENDING} WHERE ${firstOf(PENDING)}`,
    [`${PENDING}.row`, `${PENDING}.total`],
  ],
  [
    `${PENDING}: a row made up`,
    `INSERT INTO ${PENDING} (customer_id, window_start, event_name, window_end, total)
     SELECT customer_id, window_start, 'made_up', window_end, 3 FROM ${PENDING} WHERE ${firstOf(PENDING)}`,
    [`${PENDING}.total`],
  ],
];

test("what is written as in production differs in nothing", async () => {
  const customerId = await customer();
  expect(await verify(database.pool, customerId)).toEqual({ days: 2, unverified: 0, differences: [] });
  expect((await rebuild(database.pool, customerId)).flatMap((day) => [...day.rebuilt, ...day.left])).toEqual([]);
});

describe("found, and rebuilt", () => {
  test.each(REBUILT)("%s", async (_, spoil, columns) => {
    const customerId = await customer();
    const spoiled = await database.pool.query(spoil, [customerId]);
    expect(spoiled.rowCount).toBeGreaterThan(0);
    const { differences } = await verify(database.pool, customerId);
    expect(columnsOf(differences)).toEqual(columns);
    const days = await rebuild(database.pool, customerId);
    expect(days.flatMap(({ left }) => left)).toEqual([]);
    // A series is of many days: it is right again with the first.
    expect(columnsOf(days.flatMap(({ rebuilt }) => rebuilt))).toEqual(columns);
    expect((await verify(database.pool, customerId)).differences).toEqual([]);
    // All but the last record was sent, and what was sent stays: only that is left to send.
    expect([...(await planAll(database.pool, customerId))]).toEqual([["input_tokens", 16n]]);
    await acceptAll(database.pool, customerId);
    expect((await verify(database.pool, customerId)).differences).toEqual([]);
  });

  test("a total that was too large when it was reported: the next flush takes it back", async () => {
    const customerId = await customer();
    await database.pool.query(`UPDATE ${PENDING} SET total = total + 1000 WHERE ${firstOf(PENDING)}`, [customerId]);
    expect(await planAll(database.pool, customerId)).toEqual(new Map([["input_tokens", 1016n]]));
    await rebuild(database.pool, customerId);
    expect(await planAll(database.pool, customerId)).toEqual(new Map([["input_tokens", -1000n]]));
    expect((await verify(database.pool, customerId)).differences).toEqual([]);
  });
});

describe("found, and left to a person", () => {
  test.each([
    [
      "reported",
      `UPDATE ${PENDING} SET reported = reported + 1 WHERE ${firstOf(PENDING)}`,
      ["pending_window.reported"],
    ],
    [
      "accepted",
      `UPDATE ${PENDING} SET accepted = accepted - 1 WHERE ${firstOf(PENDING)}`,
      ["pending_window.accepted"],
    ],
    [
      "next sequence",
      `UPDATE ${PENDING} SET next_sequence = 0 WHERE ${firstOf(PENDING)}`,
      ["pending_window.next_sequence"],
    ],
    [
      "a report lost",
      `DELETE FROM report WHERE ${firstOf("report")}`,
      ["pending_window.accepted", "pending_window.next_sequence", "pending_window.reported"],
    ],
    [
      "a report's state changed",
      `UPDATE report SET state = 'held' WHERE ${firstOf("report")}`,
      ["pending_window.accepted"],
    ],
    [
      "a report made up",
      `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, lease_epoch)
       SELECT 'made up ' || $1, customer_id, stripe_customer_id, event_name, window_start, 2, 5, event_timestamp, 1 FROM report WHERE ${firstOf("report")}`,
      ["pending_window.next_sequence", "pending_window.reported", "pending_window.reports"],
    ],
  ])("%s", async (_, spoil, columns) => {
    const customerId = await customer();
    expect((await database.pool.query(spoil, [customerId])).rowCount).toBe(1);
    const { differences } = await verify(database.pool, customerId);
    expect(columnsOf(differences)).toEqual(columns);
    const days = await rebuild(database.pool, customerId);
    expect(days.flatMap(({ left }) => left)).toEqual(differences);
    expect(days.flatMap(({ rebuilt }) => rebuilt)).toEqual([]);
    expect((await verify(database.pool, customerId)).differences).toEqual(differences);
  });

  test("a report's value changed, past its guard", async () => {
    const customerId = await customer();
    const client = await database.pool.connect();
    await client.query("BEGIN; SET LOCAL session_replication_role = replica");
    await client.query(`UPDATE report SET value = value + 1 WHERE ${firstOf("report")}`, [customerId]);
    await client.query("COMMIT");
    client.release();
    expect(columnsOf((await verify(database.pool, customerId)).differences)).toEqual([
      "pending_window.accepted",
      "pending_window.reported",
    ]);
  });
});

test("a raw record lost: the sums stand alone, and every one of them is named", async () => {
  const customerId = await customer();
  await database.pool.query("DELETE FROM usage_record WHERE customer_id = $1 AND event_time = $2", [
    customerId,
    new Date(NOON),
  ]);
  const { differences } = await verify(database.pool, customerId);
  expect(differences).toMatchObject([
    {
      table: "rollup_quarter_hour",
      column: "quantity",
      of: "input_tokens openai/gpt-5 team=red",
      expected: "16",
      found: "17",
    },
    { table: "rollup_quarter_hour", column: "record_count", expected: "1", found: "2" },
    {
      table: "rollup_quarter_hour",
      column: "quantity",
      of: "requests openai/gpt-5 team=red",
      expected: "1",
      found: "2",
    },
    { table: "rollup_quarter_hour", column: "record_count", expected: "1", found: "2" },
    { table: "rollup_day", column: "quantity", expected: "16", found: "17" },
    { table: "rollup_day", column: "record_count", expected: "1", found: "2" },
    { table: "rollup_day", column: "quantity", expected: "1", found: "2" },
    { table: "rollup_day", column: "record_count", expected: "1", found: "2" },
    { table: "pending_window", column: "total", of: "input_tokens", windowStartMs: NOON, expected: "16", found: "17" },
  ]);
});
