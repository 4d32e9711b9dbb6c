// Days that were dropped before the deployment noted which: the migration finds them by their rollups.
import { expect, test } from "vitest";
import { DAY_MS } from "../../../src/domain/window.ts";
import { migrate } from "../../../src/postgres/migrate.ts";
import { maintainPartitions } from "../../../src/postgres/partitions.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { apply, rebuild, verify, voidRecord } from "./harness.ts";

const MIDNIGHT = Date.UTC(2026, 9, 12);
const of = (daysAgo: number, laterMs = 0) =>
  usageRecord({ customerId: "acme", eventTimeMs: MIDNIGHT - daysAgo * DAY_MS + laterMs });
const inTime = (pool: Pool) => pool.query("UPDATE usage_record SET applied_at = event_time + interval '1 minute'");
/** As of a database that this migration, and the note, came to late. */
const upgrade = async (pool: Pool, noted: string | null) => {
  await pool.query("UPDATE deployment SET raw_kept_from = $1", [noted]);
  await pool.query("DELETE FROM schema_migration WHERE version = 15");
  expect(await migrate(pool)).toEqual(["0015_raw_dropped_before"]);
  const { rows } = await pool.query("SELECT raw_kept_from::text AS day FROM deployment");
  return rows[0]?.day;
};

// Retention was 36 days and is 60; the last note, where there is one, is by 60. The straggler came before the upgrade, or comes after.
test.each([
  [null, "before"],
  [null, "after"],
  ["2026-08-13", "before"],
  ["2026-08-13", "after"],
])("a straggler of a day dropped long ago is not taken for all of it: noted %s, it came %s", async (noted, came) => {
  const { pool } = await useServedDatabase();
  await apply(pool, [of(38), of(38, 1), of(20)]);
  await inTime(pool);
  await maintainPartitions(pool, MIDNIGHT, 36 * DAY_MS);
  const straggler = of(38, 2);
  if (came === "before") await apply(pool, [straggler]);
  expect(await upgrade(pool, noted)).toBe("2026-09-05");
  await maintainPartitions(pool, MIDNIGHT, 60 * DAY_MS);
  if (came === "after") await apply(pool, [straggler]);
  const sums = async () => (await pool.query("SELECT * FROM rollup_day ORDER BY window_start, series_id")).rows;
  const before = await sums();
  expect(await verify(pool)).toMatchObject({ days: 2, unverified: 1, differences: [] });
  await rebuild(pool, "acme");
  expect(await sums()).toEqual(before);
});

test("where nothing was dropped, nothing is closed: an old day that comes late is whole, before the first note and after", async () => {
  const { pool } = await useServedDatabase();
  await apply(pool, [of(5)]);
  await inTime(pool);
  expect(await upgrade(pool, null)).toBe(null);
  const late = [of(35), of(35, 1)] as const;
  await apply(pool, late);
  expect(await verify(pool)).toMatchObject({ days: 2, unverified: 0, differences: [] });
  await voidRecord(pool, late[0]);
  await maintainPartitions(pool, MIDNIGHT, 36 * DAY_MS);
  await voidRecord(pool, late[1]);
  expect((await pool.query("SELECT FROM usage_void")).rowCount).toBe(2);
  await apply(pool, [of(35, 2)]);
  expect(await verify(pool)).toMatchObject({ days: 2, unverified: 0, differences: [] });
});
