import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Ledger } from "../../../src/app/ports/ledger.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { DAY_MS } from "../../../src/domain/window.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { maintainPartitions } from "../../../src/postgres/partitions.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

const SHARDS = 4;
const NOW_MS = Date.parse("2026-06-15T12:07:31.250Z");
let database: TestDatabase;
let ledger: Ledger;
let customers = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
  await maintainPartitions(database.pool, NOW_MS, 40 * DAY_MS);
  ledger = postgresLedger(database.pool, testCatalog(), SHARDS);
});
afterAll(() => database.close());

function newCustomer(): string {
  customers += 1;
  return `cus_ledger_${customers}`;
}

async function outcomesOf(records: readonly UsageRecord[]) {
  const result = await ledger.apply(records);
  if (result.kind !== "applied") throw new Error(result.kind);
  return result.outcomes;
}

/** Applies records as a drain would: they were acknowledged before. All of one customer. */
async function drainedOutcomesOf(records: readonly UsageRecord[]) {
  const at = (await ledger.shards())[shardOf(records[0]?.customerId ?? "", SHARDS)];
  if (at === undefined) throw new Error("no shard");
  const { shard, epoch, cursor } = at;
  const toEntryId = `${Number.parseInt(cursor, 10) + 1}-0`;
  const result = await ledger.apply(records, { shard, epoch, fromEntryId: cursor, toEntryId, watermarkMs: 0 });
  if (result.kind !== "applied") throw new Error(result.kind);
  return result.outcomes;
}

/** Sums as they stand in each table that must agree. */
async function sumsOf(customerId: string) {
  const rollup = (table: string) =>
    `(SELECT coalesce(json_object_agg(meter, q), '{}') FROM (SELECT meter, sum(quantity)::text AS q FROM ${table}
       JOIN series USING (customer_id, series_id) WHERE customer_id = $1 GROUP BY meter ORDER BY meter) AS s)`;
  const result = await database.pool.query(
    `SELECT ${rollup("rollup_quarter_hour")} AS quarter_hours, ${rollup("rollup_day")} AS days,
       (SELECT count(*)::int FROM usage_record WHERE customer_id = $1) AS raw,
       (SELECT coalesce(json_object_agg(event_name, t), '{}') FROM (SELECT event_name, sum(total)::text AS t FROM pending_window
          WHERE customer_id = $1 GROUP BY event_name ORDER BY event_name) AS p) AS pending,
       (SELECT coalesce(json_agg(idempotency_key || ' ' || reason), '[]') FROM refused_record WHERE customer_id = $1) AS refused`,
    [customerId],
  );
  return result.rows[0];
}

describe("apply", () => {
  test("counts a record once in raw records, both rollups and pending, however often it comes", async () => {
    const customerId = newCustomer();
    const record = usageRecord({
      customerId,
      eventTimeMs: NOW_MS,
      measurements: { input_tokens: 120n, output_tokens: 7n },
    });
    expect(await outcomesOf([record])).toEqual(["applied"]);
    expect(await outcomesOf([record, record])).toEqual(["duplicate", "duplicate"]);
    expect(await sumsOf(customerId)).toEqual({
      quarter_hours: { input_tokens: "120", output_tokens: "7", requests: "1" },
      days: { input_tokens: "120", output_tokens: "7", requests: "1" },
      raw: 1,
      pending: { input_tokens: "120", output_tokens: "7" },
      refused: [],
    });
  });

  test("tells an equal repeat inside one batch from another record under the same key", async () => {
    const customerId = newCustomer();
    const fields = { customerId, idempotencyKey: "k", eventTimeMs: NOW_MS };
    const record = usageRecord({ ...fields, measurements: { input_tokens: 1n } });
    const other = usageRecord({ ...fields, measurements: { input_tokens: 2n } });
    expect(await drainedOutcomesOf([record, other, record])).toEqual(["applied", "key_reused", "duplicate"]);
    expect(await sumsOf(customerId)).toMatchObject({ pending: { input_tokens: "1" }, refused: ["k key_reused"] });
    // A caller who was not yet answered is told, not listed.
    expect(await outcomesOf([other])).toEqual(["key_reused"]);
    expect((await sumsOf(customerId)).refused).toEqual(["k key_reused"]);
  });

  test("refuses and lists another record under a used key, though its event day is another", async () => {
    const customerId = newCustomer();
    await outcomesOf([usageRecord({ customerId, idempotencyKey: "k", eventTimeMs: NOW_MS })]);
    const moved = usageRecord({ customerId, idempotencyKey: "k", eventTimeMs: NOW_MS - 5 * DAY_MS });
    expect(await drainedOutcomesOf([moved])).toEqual(["key_reused"]);
    expect(await sumsOf(customerId)).toMatchObject({ raw: 1, refused: ["k key_reused"] });
  });

  test("the same key of two customers is two records", async () => {
    const records = [newCustomer(), newCustomer()].map((customerId) =>
      usageRecord({ customerId, idempotencyKey: "shared", eventTimeMs: NOW_MS }),
    );
    expect(await outcomesOf(records)).toEqual(["applied", "applied"]);
  });

  test("50 concurrent applies of one record count it once", async () => {
    const record = usageRecord({ customerId: newCustomer(), eventTimeMs: NOW_MS });
    const outcomes = (await Promise.all(Array.from({ length: 50 }, () => outcomesOf([record])))).flat();
    expect(outcomes.filter((o) => o === "applied")).toHaveLength(1);
    expect(outcomes.filter((o) => o === "duplicate")).toHaveLength(49);
    expect((await sumsOf(record.customerId)).raw).toBe(1);
  });

  test("keeps quantities exact beyond 2^53, and refuses only the record whose sum would leave 64 bits", async () => {
    const customerId = newCustomer();
    const big = 4_611_686_018_427_387_904n; // 2^62: larger than any edge lets in, so that two reach the bound
    const record = (idempotencyKey: string, quantity: bigint) =>
      usageRecord({ customerId, idempotencyKey, eventTimeMs: NOW_MS, measurements: { input_tokens: quantity } });
    expect(await outcomesOf([record("a", big), record("b", 5n)])).toEqual(["applied", "applied"]);
    expect(await drainedOutcomesOf([record("c", 3n), record("d", big), record("e", 4n)])).toEqual([
      "applied",
      "overflow",
      "applied",
    ]);
    expect(await sumsOf(customerId)).toMatchObject({
      quarter_hours: { input_tokens: (big + 12n).toString() },
      pending: { input_tokens: (big + 12n).toString() },
      refused: ["d overflow"],
    });
  });

  test("makes the partition of an event day that maintenance did not foresee", async () => {
    const customerId = newCustomer();
    expect(await outcomesOf([usageRecord({ customerId, eventTimeMs: NOW_MS + 60 * DAY_MS })])).toEqual(["applied"]);
    expect((await sumsOf(customerId)).raw).toBe(1);
  });

  test("cuts windows at the customer's period boundaries", async () => {
    const customerId = newCustomer();
    const boundaryMs = Date.parse("2026-06-15T12:07:31Z");
    await database.pool.query("INSERT INTO period_boundary VALUES ($1, $2)", [customerId, new Date(boundaryMs)]);
    await outcomesOf([
      usageRecord({ customerId, eventTimeMs: boundaryMs - 1, measurements: { input_tokens: 1n } }),
      usageRecord({ customerId, eventTimeMs: boundaryMs, measurements: { input_tokens: 2n } }),
    ]);
    const windows = await database.pool.query(
      "SELECT window_start, window_end, total::text FROM pending_window WHERE customer_id = $1 ORDER BY window_start",
      [customerId],
    );
    expect(windows.rows).toEqual([
      { window_start: new Date("2026-06-15T12:07:00Z"), window_end: new Date(boundaryMs), total: "1" },
      { window_start: new Date(boundaryMs), window_end: new Date("2026-06-15T12:08:00Z"), total: "2" },
    ]);
  });
});

describe("cursor", () => {
  const customerId = "cus_cursor";
  const shard = shardOf(customerId, SHARDS);

  test("of two drainers at the same place one applies, and nothing of the other's is written", async () => {
    await ledger.adoptEpoch(shard, "", "e1", NOW_MS);
    const move = { shard, epoch: "e1", fromEntryId: "0-0", toEntryId: "5-0", watermarkMs: NOW_MS };
    const [a, b] = [usageRecord({ customerId, eventTimeMs: NOW_MS }), usageRecord({ customerId, eventTimeMs: NOW_MS })];
    const results = await Promise.all([ledger.apply([a], move), ledger.apply([b], move)]);
    expect(results.map((r) => r.kind).sort()).toEqual(["applied", "cursor_moved"]);
    expect((await sumsOf(customerId)).raw).toBe(1);
    expect(await ledger.apply([a], { ...move, epoch: "other" })).toEqual({ kind: "cursor_moved" });
  });

  test("a new epoch is a gap with bounds, adopted once; watermarks never go back", async () => {
    expect(await ledger.adoptEpoch(shard, "e1", "e2", NOW_MS + 1000)).toBe(true);
    expect(await ledger.adoptEpoch(shard, "e1", "e3", NOW_MS + 2000)).toBe(false);
    const gaps = await database.pool.query("SELECT shard, lost_from, lost_to, old_epoch, new_epoch FROM gap");
    expect(gaps.rows).toEqual([
      { shard, lost_from: new Date(NOW_MS), lost_to: new Date(NOW_MS + 1000), old_epoch: "e1", new_epoch: "e2" },
    ]);
    const state = { shard, epoch: "e2", cursor: "0-0" };
    await ledger.raiseWatermarks([{ ...state, watermarkMs: NOW_MS + 5000 }]);
    await ledger.raiseWatermarks([{ ...state, watermarkMs: NOW_MS + 3000 }]);
    await ledger.raiseWatermarks([{ ...state, cursor: "9-9", watermarkMs: NOW_MS + 9000 }]);
    expect((await ledger.shards())[shard]).toEqual({ ...state, watermarkMs: NOW_MS + 5000 });
  });

  test("a lost tail is a gap, stored once", async () => {
    const state = (await ledger.shards())[shard];
    if (state === undefined) throw new Error("no shard");
    await ledger.reportLostTail(state, NOW_MS + 9000);
    await ledger.reportLostTail(state, NOW_MS + 9500);
    const gaps = await database.pool.query("SELECT lost_to FROM gap WHERE old_epoch = new_epoch");
    expect(gaps.rows).toEqual([{ lost_to: new Date(NOW_MS + 9000) }]);
  });
});

describe("retention", () => {
  test("drops old days with their keys, in order, and keeps the rest", async () => {
    const customerId = newCustomer();
    const oldMs = NOW_MS - 30 * DAY_MS;
    await outcomesOf([
      usageRecord({ customerId, idempotencyKey: "old", eventTimeMs: oldMs }),
      usageRecord({ customerId, idempotencyKey: "new", eventTimeMs: NOW_MS }),
    ]);
    const result = await maintainPartitions(database.pool, NOW_MS + 12 * DAY_MS, 40 * DAY_MS);
    expect(result.dropped).toContain("2026-05-16");
    const keys = await database.pool.query("SELECT idempotency_key FROM idempotency_key WHERE customer_id = $1", [
      customerId,
    ]);
    expect(keys.rows).toEqual([{ idempotency_key: "new" }]);
    expect((await sumsOf(customerId)).raw).toBe(1);
    expect((await sumsOf(customerId)).days.requests).toBe("2");
    expect((await maintainPartitions(database.pool, NOW_MS + 12 * DAY_MS, 40 * DAY_MS)).made).toEqual([]);
  });
});
