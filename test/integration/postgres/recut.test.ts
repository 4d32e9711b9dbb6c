// What a boundary that becomes known late does to the sums around it, case by case.
import { expect, test } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { maintainPartitions } from "../../../src/postgres/partitions.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { testCatalog } from "../../support/catalog.ts";
import { usageRecord } from "../../support/records.ts";
import {
  CATALOGS,
  DAY,
  database,
  learn,
  ledgerOf,
  MIDNIGHT,
  MINUTE,
  newCustomer,
  pendingOf,
  QUARTER_HOUR,
  reportAll,
  reportedOf,
  rollupsOf,
  SECOND,
  SHARDS,
  warnings,
} from "./recut-harness.ts";

test("what was reported under the window stays with its first piece; the flush corrects both", async () => {
  const ledger = ledgerOf();
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint) =>
    usageRecord({ customerId, eventTimeMs: MIDNIGHT + seconds * SECOND, measurements: { input_tokens } });
  await ledger.apply([at(10, 3n), at(19.999, 4n), at(20, 5n), at(50, 6n)]);
  await reportAll(customerId);
  await learn(customerId, [MIDNIGHT + 20 * SECOND, MIDNIGHT + 50 * SECOND]);
  const result = await database.pool.query(
    `SELECT extract(second FROM window_start)::integer AS start, extract(second FROM window_end)::integer AS end,
       total, reported, accepted, next_sequence FROM pending_window WHERE customer_id = $1 ORDER BY window_start`,
    [customerId],
  );
  expect(result.rows).toEqual([
    { start: 0, end: 20, total: "7", reported: "18", accepted: "18", next_sequence: 1 },
    { start: 20, end: 50, total: "5", reported: "0", accepted: "0", next_sequence: 0 },
    { start: 50, end: 0, total: "6", reported: "0", accepted: "0", next_sequence: 0 },
  ]);
});

test("all records of a minute voided after they were reported: a boundary cuts the window that waits to be taken back, too", async () => {
  const customerId = newCustomer();
  const record = usageRecord({ customerId, eventTimeMs: MIDNIGHT + 10 * SECOND, measurements: { input_tokens: 3n } });
  await ledgerOf().apply([record]);
  await reportAll(customerId);
  const { idempotencyKey } = record;
  await postgresVoids(database.pool, testCatalog(), SHARDS).voidRecord({ customerId, idempotencyKey, reason: "test" });
  await learn(customerId, [MIDNIGHT + 20 * SECOND]);
  const window = () =>
    database.pool.query(
      "SELECT extract(epoch FROM window_end - window_start)::integer AS seconds, total, reported FROM pending_window WHERE customer_id = $1",
      [customerId],
    );
  expect((await window()).rows).toEqual([{ seconds: 20, total: "0", reported: "3" }]);
  await reportAll(customerId);
  expect((await window()).rows).toEqual([{ seconds: 20, total: "0", reported: "0" }]);
});

test("rules changed between records of one minute, then a boundary: each record keeps what it was billed; the flush moves, and adds nothing", async () => {
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint, output_tokens: bigint) =>
    usageRecord({
      customerId,
      eventTimeMs: MIDNIGHT + seconds * SECOND,
      measurements: { input_tokens, output_tokens },
      labels: { team: "red" },
    });
  await ledgerOf().apply([at(1, 1n, 10n), at(40, 3n, 20n)]);
  await ledgerOf(CATALOGS[1]).apply([at(2, 5n, 7n), at(50, 9n, 2n)]);
  await reportAll(customerId);
  await learn(customerId, [MIDNIGHT + 30 * SECOND], CATALOGS[2]);
  const parts = { calls: [1, 1], input_tokens: [1 + 500, 3 + 900], output_tokens: [10, 20] };
  expect(await pendingOf(customerId)).toEqual([
    { start: "12 00:00:00", event_name: "all_tokens", seconds: 30, total: "21" },
    { start: "12 00:00:00", event_name: "all_tokens", seconds: 30, total: "5" },
    ...Object.entries(parts).map(([event_name, [first]]) => {
      return { start: "12 00:00:00", event_name, seconds: 30, total: String(first) };
    }),
    { start: "12 00:00:30", event_name: "all_tokens", seconds: 30, total: "6" },
    { start: "12 00:00:30", event_name: "all_tokens", seconds: 30, total: "9" },
    ...Object.entries(parts).map(([event_name, [, second]]) => {
      return { start: "12 00:00:30", event_name, seconds: 30, total: String(second) };
    }),
  ]);
  for (const row of await reportedOf(customerId)) expect(row.due).toBe("0");
  const quarterHours = await rollupsOf(customerId, "rollup_quarter_hour");
  expect(
    quarterHours.filter((row) => row.meter === "input_tokens").map((row) => [row.start, row.labels, row.quantity]),
  ).toEqual([
    ["12 00:00:00", {}, "5"],
    ["12 00:00:00", { team: "red" }, "1"],
    ["12 00:00:30", {}, "9"],
    ["12 00:00:30", { team: "red" }, "3"],
  ]);
});

test("records of before catalogs were kept, billing rules and labels changed since: totals per event name stay, split in proportion; nothing is billed anew", async () => {
  const customerId = newCustomer();
  const at = (seconds: number, input_tokens: bigint, output_tokens: bigint) =>
    usageRecord({
      customerId,
      eventTimeMs: MIDNIGHT + seconds * SECOND,
      measurements: { input_tokens, output_tokens },
      labels: { team: "red" },
    });
  await ledgerOf().apply([at(1, 1n, 10n), at(40, 3n, 10n)]);
  await database.pool.query("UPDATE usage_record SET catalog_id = NULL WHERE customer_id = $1", [customerId]);
  const changed: MeterCatalog = {
    ...testCatalog(),
    billing: [
      { meter: "input_tokens", modelPattern: "*", eventName: "input_tokens", weight: 100n },
      { meter: "input_tokens", modelPattern: "*", eventName: "all_tokens", weight: 1n },
    ],
    rollupLabels: [],
  };
  await learn(customerId, [MIDNIGHT + 30 * SECOND], changed);
  expect(await pendingOf(customerId)).toEqual([
    { start: "12 00:00:00", event_name: "input_tokens", seconds: 30, total: "1" },
    { start: "12 00:00:00", event_name: "output_tokens", seconds: 30, total: "20" },
    { start: "12 00:00:30", event_name: "input_tokens", seconds: 30, total: "3" },
  ]);
  for (const table of ["rollup_quarter_hour", "rollup_day"] as const) {
    const rows = (await rollupsOf(customerId, table)).filter((row) => row.meter !== "requests");
    expect(rows.map((row) => [row.start, row.meter, row.labels, row.quantity])).toEqual([
      ["12 00:00:00", "input_tokens", {}, "1"],
      ["12 00:00:00", "output_tokens", {}, "10"],
      ["12 00:00:30", "input_tokens", {}, "3"],
      ["12 00:00:30", "output_tokens", {}, "10"],
    ]);
  }
});

test("raw records gone: the quarter-hour stays whole, the day is cut where quarter-hours allow, totals stay", async () => {
  const ledger = ledgerOf();
  const customerId = newCustomer();
  const day = MIDNIGHT - 40 * DAY;
  const at = (offsetMs: number, input_tokens: bigint) =>
    usageRecord({ customerId, eventTimeMs: day + offsetMs, measurements: { input_tokens } });
  await ledger.apply([at(0, 1n), at(2 * MINUTE + 1, 2n), at(QUARTER_HOUR, 4n)]);
  await database.pool.query("DELETE FROM usage_record WHERE customer_id = $1", [customerId]);
  warnings.length = 0;
  await learn(customerId, [day + 2 * MINUTE, day + QUARTER_HOUR]);
  const tokens = async (table: "rollup_quarter_hour" | "rollup_day") =>
    (await rollupsOf(customerId, table)).filter((r) => r.meter === "input_tokens").map((r) => [r.start, r.quantity]);
  expect(await tokens("rollup_quarter_hour")).toEqual([
    ["02 00:00:00", "3"],
    ["02 00:15:00", "4"],
  ]);
  expect(await tokens("rollup_day")).toEqual([
    ["02 00:00:00", "3"],
    ["02 00:15:00", "4"],
  ]);
  expect(warnings).toHaveLength(1);
});

test("raw records gone, and a straggler came: it is not taken for the quarter-hour, which stays whole, nor voided out of it", async () => {
  const ledger = ledgerOf();
  const customerId = newCustomer();
  const day = MIDNIGHT - 50 * DAY;
  const at = (offsetMs: number, input_tokens: bigint) =>
    usageRecord({ customerId, eventTimeMs: day + offsetMs, measurements: { input_tokens } });
  await ledger.apply([at(10 * SECOND, 1n), at(40 * SECOND, 2n)]);
  await maintainPartitions(database.pool, MIDNIGHT, 40 * DAY);
  const straggler = at(50 * SECOND, 4n);
  await ledger.apply([straggler]);
  warnings.length = 0;
  await learn(customerId, [day + 30 * SECOND]);
  expect(warnings).toHaveLength(1);
  const tokens = async () =>
    [...(await rollupsOf(customerId, "rollup_quarter_hour")), ...(await rollupsOf(customerId, "rollup_day"))]
      .filter((r) => r.meter === "input_tokens")
      .map((r) => r.quantity);
  expect(await tokens()).toEqual(["7", "7"]);
  // Of the minute, the straggler is known to be after the boundary; what else it holds stays where it started.
  const pending = async () =>
    (await pendingOf(customerId)).filter((r) => r.event_name === "input_tokens").map((r) => [r.seconds, r.total]);
  expect(await pending()).toEqual([
    [30, "3"],
    [30, "4"],
  ]);
  const { idempotencyKey } = straggler;
  const voids = postgresVoids(database.pool, testCatalog(), SHARDS);
  expect(await voids.voidRecord({ customerId, idempotencyKey, reason: "test" })).toEqual({ kind: "not_found" });
  expect(await tokens()).toEqual(["7", "7"]);
});

test("a boundary in the future, and one that is known, cut nothing and need no shard", async () => {
  const customerId = newCustomer();
  await learn(customerId, [MIDNIGHT + 365 * DAY]);
  const versions = () => database.pool.query("SELECT version FROM shard ORDER BY shard").then((r) => r.rows);
  const before = await versions();
  await learn(customerId, [MIDNIGHT + 365 * DAY]);
  expect(await versions()).toEqual(before);
});

test("a boundary off the second is refused and leaves nothing behind", async () => {
  const customerId = newCustomer();
  await expect(learn(customerId, [MIDNIGHT + 1])).rejects.toThrow("whole second");
  const rows = await database.pool.query("SELECT FROM subscription WHERE stripe_customer_id = $1", [customerId]);
  expect(rows.rowCount).toBe(0);
});
