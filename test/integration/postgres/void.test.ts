// Voids against a real Postgres. That sums are right in any order of things is tested beside recut (recut.test.ts).
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { VoidResult } from "../../../src/app/ports/ledger.ts";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { DAY_MS } from "../../../src/domain/window.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { maintainPartitions } from "../../../src/postgres/partitions.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

const SHARDS = 4;
const AT_MS = Date.UTC(2026, 9, 12, 10, 0, 30);

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
});
afterAll(() => database.close());

let customers = 0;
const newCustomer = () => `cus_void${customers++}`;

function ledgerOf(catalog: MeterCatalog = testCatalog()) {
  return postgresLedger(database.pool, catalog, SHARDS);
}

function voidOf(
  { customerId, idempotencyKey }: Pick<UsageRecord, "customerId" | "idempotencyKey">,
  { reason = "test", catalog = testCatalog(), pool = database.pool } = {},
): Promise<VoidResult> {
  return postgresVoids(pool, catalog, SHARDS).voidRecord({ customerId, idempotencyKey, reason });
}

async function rowsOf(table: string, customerId: string, columns = "*"): Promise<Record<string, unknown>[]> {
  return (await database.pool.query(`SELECT ${columns} FROM ${table} WHERE customer_id = $1`, [customerId])).rows;
}

/** Everything that sums to something. */
async function sumsOf(customerId: string) {
  const rollup = (table: string) =>
    database.pool.query(
      `SELECT window_start, meter, api_key_id, labels, quantity, record_count FROM ${table} JOIN series USING (customer_id, series_id)
     WHERE customer_id = $1 ORDER BY window_start, meter, api_key_id, labels`,
      [customerId],
    );
  const pending = await database.pool.query(
    "SELECT window_start, event_name, total FROM pending_window WHERE customer_id = $1 AND total <> 0 ORDER BY 1, 2",
    [customerId],
  );
  return {
    quarterHours: (await rollup("rollup_quarter_hour")).rows,
    days: (await rollup("rollup_day")).rows,
    pending: pending.rows,
  };
}

async function versionOf(customerId: string): Promise<bigint> {
  const result = await database.pool.query<{ version: string }>("SELECT version FROM shard WHERE shard = $1", [
    shardOf(customerId, SHARDS),
  ]);
  return BigInt(result.rows[0]?.version ?? -1);
}

test("sums are as if the record had never been; the record, its key and the reason stay", async () => {
  const customerId = newCustomer();
  const kept = [
    usageRecord({ customerId, eventTimeMs: AT_MS }),
    usageRecord({ customerId, eventTimeMs: AT_MS - 40 * 60_000, apiKeyId: "key_a" }),
  ];
  const wrong = usageRecord({
    customerId,
    eventTimeMs: AT_MS + 1,
    measurements: { input_tokens: 7n, output_tokens: 0n },
    labels: { team: "red" },
  });
  const ledger = ledgerOf();
  await ledger.apply(kept);
  const before = await sumsOf(customerId);
  await ledger.apply([wrong]);
  const version = await versionOf(customerId);
  const result = await voidOf(wrong, { reason: "sent by a test" });
  expect(result).toEqual({
    kind: "voided",
    record: {
      apiKeyId: "",
      eventTimeMs: AT_MS + 1,
      measurements: wrong.measurements,
      reason: "sent by a test",
      voidedAtMs: expect.any(Number),
    },
  });
  expect(await sumsOf(customerId)).toEqual(before);
  expect(await versionOf(customerId)).toBeGreaterThan(version);
  expect(await rowsOf("usage_record", customerId)).toHaveLength(3);
  expect(await rowsOf("usage_void", customerId, "idempotency_key, reason, event_day::text")).toEqual([
    { idempotency_key: wrong.idempotencyKey, reason: "sent by a test", event_day: "2026-10-12" },
  ]);
});

test("a repeat answers as the first did, takes no lock and changes nothing", async () => {
  const record = usageRecord({ customerId: newCustomer(), eventTimeMs: AT_MS });
  await ledgerOf().apply([record]);
  const first = await voidOf(record, { reason: "first" });
  const sums = await sumsOf(record.customerId);
  const version = await versionOf(record.customerId);
  expect(await voidOf(record, { reason: "second" })).toEqual({ ...first, kind: "already_voided" });
  expect(await sumsOf(record.customerId)).toEqual(sums);
  expect(await versionOf(record.customerId)).toBe(version);
});

test("sent again, it is a duplicate and stays void; another record under its key is refused", async () => {
  const customerId = newCustomer();
  const record = usageRecord({ customerId, idempotencyKey: "k", eventTimeMs: AT_MS });
  const ledger = ledgerOf();
  await ledger.apply([record]);
  await voidOf(record);
  const sums = await sumsOf(customerId);
  const other = usageRecord({
    customerId,
    idempotencyKey: "k",
    eventTimeMs: AT_MS,
    measurements: { input_tokens: 1n },
  });
  expect(await ledger.apply([record, other])).toEqual({ kind: "applied", outcomes: ["duplicate", "key_reused"] });
  expect(await sumsOf(customerId)).toEqual(sums);
  expect((await voidOf(record)).kind).toBe("already_voided");
});

describe("not found", () => {
  test("what was never recorded, and another customer's key", async () => {
    const record = usageRecord({ customerId: newCustomer(), eventTimeMs: AT_MS });
    await ledgerOf().apply([record]);
    const version = await versionOf(record.customerId);
    expect(await voidOf({ ...record, idempotencyKey: "never" })).toEqual({ kind: "not_found" });
    expect(await voidOf({ ...record, customerId: newCustomer() })).toEqual({ kind: "not_found" });
    expect(await versionOf(record.customerId)).toBe(version);
  });

  test("what was dropped after the retention; its key may then stand for another record, which is not void", async () => {
    const customerId = newCustomer();
    const day = AT_MS - 50 * DAY_MS;
    const old = usageRecord({ customerId, idempotencyKey: "k", eventTimeMs: day });
    const ledger = ledgerOf();
    await ledger.apply([old]);
    expect((await voidOf(old)).kind).toBe("voided");
    await maintainPartitions(database.pool, AT_MS, 40 * DAY_MS);
    expect(await voidOf(old)).toEqual({ kind: "not_found" });
    const young = usageRecord({ customerId, idempotencyKey: "k", eventTimeMs: AT_MS });
    expect(await ledger.apply([young])).toMatchObject({ outcomes: ["applied"] });
    expect((await voidOf(young)).kind).toBe("voided");
    expect((await sumsOf(customerId)).pending).toEqual([]);
    expect(await rowsOf("usage_void", customerId)).toHaveLength(2);
  });
});

describe("rules changed since", () => {
  const changed: MeterCatalog = {
    ...testCatalog(),
    billing: [
      { meter: "input_tokens", modelPattern: "*", eventName: "input_tokens", weight: 100n },
      { meter: "input_tokens", modelPattern: "*", eventName: "all_tokens", weight: 1n },
    ],
    rollupLabels: [],
  };
  const two = (customerId: string) =>
    [1n, 4n].map((input_tokens) =>
      usageRecord({ customerId, eventTimeMs: AT_MS, measurements: { input_tokens }, labels: { team: "red" } }),
    );

  test("a void takes back just what the record had added", async () => {
    const customerId = newCustomer();
    const [kept, wrong] = two(customerId);
    await ledgerOf().apply([kept, wrong] as UsageRecord[]);
    await voidOf(wrong as UsageRecord, { catalog: changed });
    const { pending, quarterHours } = await sumsOf(customerId);
    expect(pending).toMatchObject([{ event_name: "input_tokens", total: "1" }]);
    expect(quarterHours).toMatchObject([
      { meter: "input_tokens", labels: { team: "red" }, quantity: "1", record_count: "1" },
      { meter: "requests", labels: { team: "red" }, quantity: "1", record_count: "1" },
    ]);
  });

  test("of a record from before catalogs were kept: at most what its windows hold, and no name that they never had", async () => {
    const customerId = newCustomer();
    const [kept, wrong] = two(customerId);
    await ledgerOf().apply([kept, wrong] as UsageRecord[]);
    await database.pool.query("UPDATE usage_record SET catalog_id = NULL WHERE customer_id = $1", [customerId]);
    await voidOf(wrong as UsageRecord, { catalog: changed });
    expect(await rowsOf("pending_window", customerId, "event_name, total")).toEqual([
      { event_name: "input_tokens", total: "0" },
    ]);
    const { days } = await sumsOf(customerId);
    expect(days.filter((row) => row.meter === "input_tokens").reduce((sum, row) => sum + Number(row.quantity), 0)).toBe(
      1,
    );
  });
});

describe("at the same time", () => {
  test("many voids of one record, from many connections: one does it, all give the same record", async () => {
    const record = usageRecord({ customerId: newCustomer(), eventTimeMs: AT_MS });
    await ledgerOf().apply([record]);
    const pools = [database.connect(), database.connect(), database.connect()];
    const results = await Promise.all(
      Array.from({ length: 24 }, (_, i) => voidOf(record, { pool: pools[i % 3] ?? database.pool })),
    );
    expect(results.filter(({ kind }) => kind === "voided")).toHaveLength(1);
    expect(
      new Set(results.map((result) => ("record" in result ? JSON.stringify(result.record.voidedAtMs) : result.kind)))
        .size,
    ).toBe(1);
    expect(await sumsOf(record.customerId)).toEqual({ quarterHours: [], days: [], pending: [] });
  });

  test("voids while the drain applies to the same shard: every record counts once, or not at all", {
    timeout: 150_000,
  }, async () => {
    const customerId = newCustomer();
    const shard = shardOf(customerId, SHARDS);
    const ledger = postgresLedger(database.connect(), testCatalog(), SHARDS);
    const records = Array.from({ length: 400 }, (_, i) =>
      usageRecord({
        customerId,
        idempotencyKey: `d${i}`,
        eventTimeMs: AT_MS + i * 1_000,
        measurements: { input_tokens: BigInt(i + 1) },
      }),
    );
    await ledger.adoptEpoch(shard, "", "e", AT_MS);
    const drain = async () => {
      for (let i = 0; i < 40; i++) {
        const move = { shard, epoch: "e", fromEntryId: `${i}-0`, toEntryId: `${i + 1}-0`, watermarkMs: AT_MS };
        expect(await ledger.apply(records.slice(i * 10, i * 10 + 10), move)).toMatchObject({ kind: "applied" });
      }
    };
    // Every third is voided, as soon as the ledger has it, by two at once.
    const wrong = records.filter((_, i) => i % 3 === 0);
    const voids = (pool = database.connect()) =>
      Promise.all(
        wrong.map((record) =>
          vi.waitFor(async () => {
            const { kind } = await voidOf(record, { pool });
            expect(kind).not.toBe("not_found");
            return kind;
          }, 100_000),
        ),
      );
    const [kinds, others] = await Promise.all([voids(), voids(), drain()]);
    for (const [i, kind] of kinds.entries()) expect([kind, others[i]].sort()).toEqual(["already_voided", "voided"]);
    const left = records
      .filter((_, i) => i % 3 !== 0)
      .reduce((sum, r) => sum + (r.measurements[0]?.quantity ?? 0n), 0n);
    const { quarterHours, days, pending } = await sumsOf(customerId);
    const sum = (rows: { quantity?: string; total?: string }[]) =>
      rows.reduce((all, row) => all + BigInt(row.quantity ?? row.total ?? 0), 0n);
    const tokens = <Row extends { meter: string; quantity: string }>(rows: Row[]) =>
      rows.filter((row) => row.meter === "input_tokens");
    expect([sum(tokens(quarterHours)), sum(tokens(days)), sum(pending)]).toEqual([left, left, left]);
  });
});

test("its process killed while it waits for the shard: nothing is done, and a repeat does it", async () => {
  const record = usageRecord({ customerId: newCustomer(), eventTimeMs: AT_MS });
  await ledgerOf().apply([record]);
  const before = await sumsOf(record.customerId);
  const holder = await database.pool.connect();
  const doomed = database.connect();
  try {
    await holder.query("BEGIN");
    await holder.query("SELECT FROM shard WHERE shard = $1 FOR UPDATE", [shardOf(record.customerId, SHARDS)]);
    const waiting = voidOf(record, { pool: doomed }).catch((cause: unknown) => cause);
    await vi.waitFor(async () => {
      const killed = await database.pool.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%WITH locked AS MATERIALIZED%'`,
      );
      expect(killed.rowCount).toBe(1);
    }, 55_000);
    expect(await waiting).toMatchObject({ failure: { kind: "ledger_unavailable" } });
  } finally {
    await holder.query("ROLLBACK");
    holder.release();
  }
  expect(await sumsOf(record.customerId)).toEqual(before);
  expect((await voidOf(record)).kind).toBe("voided");
  expect((await sumsOf(record.customerId)).pending).toEqual([]);
});
