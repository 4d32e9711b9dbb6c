// What is dropped of the way to Stripe, and above all what is not: each condition alone keeps a window, and nobody misses what went.
import { describe, expect, test } from "vitest";
import { getUsage } from "../../../src/app/get-usage.ts";
import { OpaqueTokens } from "../../../src/app/opaque-tokens.ts";
import { planReports } from "../../../src/domain/report.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { DAY_MS } from "../../../src/domain/window.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { maintainPartitions } from "../../../src/postgres/partitions.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { prune, prunedBefore } from "../../../src/postgres/prune.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { postgresUsageReader } from "../../../src/postgres/usage-reader.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { SYSTEM_CLOCK } from "../../../src/process/system-clock.ts";
import { testCatalog } from "../../support/catalog.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { acceptAll, apply, LEASE, planAll, rebuild, SHARDS, verify } from "../audit/harness.ts";

const NOW_MS = Date.now();
const RETENTION_MS = 400 * DAY_MS;
const BEFORE_MS = prunedBefore(NOW_MS, RETENTION_MS);
/** Noon of a day that is long past the retention, and of yesterday. */
const OLD_MS = BEFORE_MS - 60 * DAY_MS + DAY_MS / 2;
const NEW_MS = Math.floor(NOW_MS / DAY_MS) * DAY_MS - DAY_MS / 2;
const METER = "input_tokens";
const never = new AbortController().signal;

const pruneNow = (pool: Pool) => prune(pool, LEASE, BEFORE_MS, never);
const dropRaw = (pool: Pool) => maintainPartitions(pool, NOW_MS, 40 * DAY_MS);

function used(customerId: string, eventTimeMs: number, tokens: bigint): UsageRecord {
  return usageRecord({ customerId, eventTimeMs, measurements: { [METER]: tokens } });
}

/** Reports what waits, as a leader of that time would have, and brings it to its end in that time. */
async function reportThen(pool: Pool, customerId: string, atMs: number): Promise<void> {
  const lease = postgresLease(pool, LEASE);
  const grant = (await lease.acquire("test", 60_000)) ?? expect.fail("the lease is held");
  await postgresReports(pool, LEASE, "v1").plan(grant, { customerId, includeOpen: true }, undefined, 1_000, (windows) =>
    planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs: atMs + 60_000 }),
  );
  await lease.release(grant);
  await acceptAll(pool, customerId);
  await pool.query(
    `UPDATE report SET planned_at = to_timestamp($2), settled_at = to_timestamp($2), reconciled_at = to_timestamp($2)
     WHERE customer_id = $1 AND state = 'accepted' AND reconciled_at IS NULL`,
    [customerId, atMs / 1000 + 60],
  );
}

/** Three old minutes, the first with two reports, and a new one; all reported, and reconciled. */
async function live(pool: Pool, customerId: string): Promise<{ old: UsageRecord; recent: UsageRecord }> {
  const old = used(customerId, OLD_MS, 5n);
  const recent = used(customerId, NEW_MS, 70n);
  await apply(pool, [old, used(customerId, OLD_MS + 60_000, 1n), used(customerId, OLD_MS + 120_000, 1n)]);
  await reportThen(pool, customerId, OLD_MS + 180_000);
  await apply(pool, [used(customerId, OLD_MS, 2n)]);
  await reportThen(pool, customerId, OLD_MS + 240_000);
  await apply(pool, [recent]);
  await reportThen(pool, customerId, NEW_MS + 60_000);
  return { old, recent };
}

async function countOf(pool: Pool, customerId: string): Promise<readonly [windows: number, reports: number]> {
  const { rows } = await pool.query(
    `SELECT (SELECT count(*)::integer FROM pending_window WHERE customer_id = $1 AND event_name = $2) AS windows,
       (SELECT count(*)::integer FROM report WHERE customer_id = $1 AND event_name = $2) AS reports`,
    [customerId, METER],
  );
  return [rows[0].windows, rows[0].reports];
}

const ALL = [4, 5] as const;
const RECENT = [1, 1] as const;

describe("what is finished and old goes, and is not missed", () => {
  test("GetUsage, verify, rebuild and voids answer as they did; a straggler of that day is counted and reported once", async () => {
    const { pool } = await useServedDatabase();
    const customerId = "cus_pruned";
    const { old, recent } = await live(pool, customerId);
    await dropRaw(pool);
    const deps = {
      reader: postgresUsageReader(pool, SHARDS, 0),
      tokens: new OpaqueTokens("key"),
      catalog: testCatalog(),
      clock: SYSTEM_CLOCK,
      shardCount: SHARDS,
    };
    const dayMs = OLD_MS - DAY_MS / 2;
    const usage = async (startMs: number, endMs: number) => {
      const all = { apiKeyId: undefined, models: [], meters: [METER], groupByApiKey: false, groupByModel: false };
      const asked = { ...all, customerId, groupByLabels: [], over: { startMs, endMs }, timeZone: "UTC" };
      const rest = { windowSize: "all", consistencyToken: "", pageSize: 10, pageToken: "" } as const;
      const { totals, billing } = await getUsage(deps, { ...asked, ...rest }, { signal: never });
      return { totals, reported: billing?.reported.get(METER), unreported: billing?.unreported.get(METER) };
    };
    const before = await usage(dayMs, dayMs + DAY_MS);
    expect(before.totals).toMatchObject([{ quantity: 9n }]);
    expect(before.reported).toBe(9n);
    expect(await countOf(pool, customerId)).toEqual(ALL);

    expect(await pruneNow(pool)).toEqual({ windows: 3, reports: 4, drifts: 0, meterErrors: 0 });
    expect(await countOf(pool, customerId)).toEqual(RECENT);
    expect(await pruneNow(pool)).toMatchObject({ windows: 0, reports: 0 });

    const after = await usage(dayMs, dayMs + DAY_MS);
    expect(after.totals).toEqual(before.totals);
    expect([after.reported, after.unreported]).toEqual([undefined, undefined]);
    expect(await usage(NEW_MS - DAY_MS / 2, NEW_MS + DAY_MS / 2)).toMatchObject({ reported: 70n, unreported: 0n });
    expect((await verify(pool)).differences).toEqual([]);
    await rebuild(pool);
    expect(await countOf(pool, customerId)).toEqual(RECENT);
    expect(await planAll(pool, customerId)).toEqual(new Map());
    const voids = postgresVoids(pool, testCatalog(), SHARDS);
    expect((await voids.voidRecord({ ...old, reason: "late" })).kind).toBe("not_found");
    expect((await voids.voidRecord({ ...recent, reason: "late" })).kind).toBe("voided");
    expect((await planAll(pool, customerId)).get(METER)).toBe(-70n);
    // As if it had waited in Redis all the time.
    await apply(pool, [used(customerId, OLD_MS, 3n)]);
    expect((await planAll(pool, customerId)).get(METER)).toBe(3n);
    expect(await planAll(pool, customerId)).toEqual(new Map());
    expect(await countOf(pool, customerId)).toEqual([2, 3]);
    // The day has one raw record again, until the next maintenance.
    await dropRaw(pool);
    expect((await verify(pool)).differences).toEqual([]);
  });

  test("what was found about them goes first, so that they can go; an open drift stays", async () => {
    const { pool } = await useServedDatabase();
    await live(pool, "cus_a");
    await dropRaw(pool);
    const drift = `INSERT INTO drift (stripe_customer_id, event_name, span_start, span_end, expected, counted, explanation, state, booking, settled_at)
      SELECT 'cus_a', event_name, window_start, window_start + interval '1 minute', 1, 2, 'foreign', $1, identifier, $2 FROM report
      WHERE customer_id = 'cus_a' AND event_name = 'output_tokens' LIMIT 1`;
    await apply(pool, [usageRecord({ customerId: "cus_a", eventTimeMs: OLD_MS, measurements: { output_tokens: 1n } })]);
    await reportThen(pool, "cus_a", OLD_MS + 300_000);
    await dropRaw(pool);
    await pool.query(drift, ["repaired", new Date(OLD_MS + DAY_MS)]);
    const error = `INSERT INTO meter_error (event_id, code, error_count, validation_start, validation_end, samples, received_at)
      VALUES ($1, 'meter_event_invalid_value', 1, $2, $2, '[]', $2)`;
    await pool.query(error, ["evt_old", new Date(OLD_MS)]);
    await pool.query(error, ["evt_new", new Date(NEW_MS)]);
    expect(await pruneNow(pool)).toMatchObject({ drifts: 1, meterErrors: 1 });
    expect((await pool.query("SELECT event_id FROM meter_error")).rows).toEqual([{ event_id: "evt_new" }]);
    expect((await pool.query("SELECT FROM report WHERE event_name = 'output_tokens'")).rowCount).toBe(0);
  });

  test("what was written off long ago goes with the rest", async () => {
    const { pool } = await useServedDatabase();
    await live(pool, "cus_a");
    await dropRaw(pool);
    await pool.query(
      `UPDATE report SET state = 'held', reason = 'late', written_off_at = settled_at, reconciled_at = NULL WHERE ${first}`,
      ["cus_a"],
    );
    expect(await pruneNow(pool)).toMatchObject({ windows: 3, reports: 4 });
    expect(await countOf(pool, "cus_a")).toEqual(RECENT);
  });
});

const old = `customer_id = $1 AND event_name = '${METER}' AND window_start < now() - interval '300 days'`;
const period = (end: string, closed: string, finalized: string) => `
  WITH i AS (INSERT INTO invoice (invoice_id, stripe_customer_id, subscription_id, status, finalized_at)
    VALUES ('in_' || $1, $1, 'sub', 'open', ${finalized}) RETURNING invoice_id)
  INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed, closed_at)
  SELECT invoice_id, '${METER}', now() - interval '600 days', ${end}, $1, 1, ${closed} FROM i`;
const first = `identifier = (SELECT identifier FROM report WHERE ${old} ORDER BY window_start, sequence LIMIT 1)`;

describe("whatever something may still be asked of stays, whole", () => {
  test.each([
    ["more was recorded than reported", `UPDATE pending_window SET total = total + 1 WHERE ${old}`],
    ["one is held for a person", `UPDATE report SET state = 'held', reason = 'no_meter_found' WHERE ${first}`],
    [
      "one was written off lately",
      `UPDATE report SET state = 'held', reason = 'late', written_off_at = now() WHERE ${old}`,
    ],
    ["one was not found in Stripe's sums yet", `UPDATE report SET reconciled_at = NULL WHERE ${first}`],
    ["one is on its way", `UPDATE report SET state = 'unknown' WHERE ${first}`],
    ["one waits to be sent", `UPDATE report SET state = 'planned' WHERE ${first}`],
    ["they were stamped late", `UPDATE report SET event_timestamp = now() WHERE ${old}`],
    ["they came to their end lately", `UPDATE report SET settled_at = now() WHERE ${old}`],
    [
      "a span of the customer's meter is a drift",
      `INSERT INTO drift (stripe_customer_id, event_name, span_start, span_end, expected, counted, explanation)
       VALUES ($1, '${METER}', now() - interval '500 days', now() - interval '499 days', 1, 2, 'foreign')`,
    ],
    [
      "a span of the customer's meter is to be compared",
      `INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason)
       VALUES ($1, '${METER}', now() - interval '500 days', now() - interval '499 days', 'operator')`,
    ],
    ["the invoice was not compared", period("now() - interval '420 days'", "NULL", "now() - interval '419 days'")],
    ["the invoice's period reaches into what is kept", period("now() - interval '300 days'", "now()", "now()")],
    [
      "the billing period goes on",
      `INSERT INTO subscription (subscription_id, stripe_customer_id, status, period_start, period_end)
       VALUES ('sub_' || $1, $1, 'active', now() - interval '700 days', now() + interval '30 days')`,
    ],
  ])("%s", async (name, spoil) => {
    const { pool } = await useServedDatabase();
    const customerId = "cus_kept";
    await live(pool, customerId);
    await live(pool, "cus_beside");
    await dropRaw(pool);
    await pool.query("ALTER TABLE report DISABLE TRIGGER report_is_frozen");
    const { rowCount } = await pool.query(spoil, [customerId]);
    expect(rowCount, name).toBeGreaterThan(0);
    await pruneNow(pool);
    expect(await countOf(pool, customerId)).toEqual(ALL);
    expect(await countOf(pool, "cus_beside")).toEqual(RECENT);
  });

  test("raw records of the day are kept: its voids are still taken, and taken back from Stripe", async () => {
    const { pool } = await useServedDatabase();
    const { old: record } = await live(pool, "cus_raw");
    expect(await pruneNow(pool)).toMatchObject({ windows: 0, reports: 0 });
    const voided = await postgresVoids(pool, testCatalog(), SHARDS).voidRecord({ ...record, reason: "late" });
    expect(voided.kind).toBe("voided");
    expect((await planAll(pool, "cus_raw")).get(METER)).toBe(-5n);
  });

  test("a report that another window's drift names, or that another window's report stands on", async () => {
    const { pool } = await useServedDatabase();
    await live(pool, "cus_named");
    await dropRaw(pool);
    await pool.query(
      `INSERT INTO drift (stripe_customer_id, event_name, span_start, span_end, expected, counted, explanation, state, repair, settled_at)
       SELECT 'cus_other', 'other', now(), now(), 1, 2, 'foreign', 'repaired', identifier, now() FROM report WHERE ${first}`,
      ["cus_named"],
    );
    expect(await pruneNow(pool)).toMatchObject({ drifts: 0 });
    expect(await countOf(pool, "cus_named")).toEqual([2, 3]);
    await pool.query("UPDATE drift SET settled_at = $1, span_start = $1, span_end = $1", [new Date(OLD_MS)]);
    await pool.query(
      `INSERT INTO report (identifier, kind, origin, customer_id, stripe_customer_id, event_name, window_start, sequence, value,
         event_timestamp, state, lease_epoch)
       SELECT 'retry', 'retry', identifier, 'cus_named', 'cus_elsewhere', '${METER}', now(), 9, value, now(), 'planned', 1 FROM report WHERE ${first}`,
      ["cus_named"],
    );
    await pruneNow(pool);
    expect(await countOf(pool, "cus_named")).toEqual([2, 4]);
  });
});
