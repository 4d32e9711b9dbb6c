// Catalogs against a real Postgres: what records were applied under is kept, once, and is never guessed.
import { expect, test } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { AppliedCatalogs, registerOnce } from "../../../src/postgres/catalogs.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { testCatalog } from "../../support/catalog.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

const OTHER: MeterCatalog = { ...testCatalog(), rollupLabels: [] };

test("processes that start together get one id for one catalog, another for another, and the same after a restart", async () => {
  const { pool, connect } = await useServedDatabase();
  const pools = [pool, connect(), connect()];
  const ids = await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const catalog = i % 2 === 0 ? testCatalog() : OTHER;
      return (await registerOnce(pools[i % 3] ?? pool, catalog)()).catalogId;
    }),
  );
  const [even, odd] = [ids[0], ids[1]];
  expect(even).not.toBe(odd);
  expect(ids).toEqual(ids.map((_, i) => (i % 2 === 0 ? even : odd)));
  expect((await pool.query("SELECT FROM catalog")).rowCount).toBe(2);
});

test("every raw record names its catalog, in whichever way it is applied", async () => {
  const { pool } = await useServedDatabase();
  const records = [1, 2].map(() => usageRecord());
  await postgresLedger(pool, testCatalog(), 2).apply(records);
  // A record that cannot be stored makes the rest go one by one.
  const unstorable = usageRecord({ labels: { team: "\u0000" } });
  const result = await postgresLedger(pool, OTHER, 2).apply([usageRecord(), unstorable]);
  expect(result).toMatchObject({ outcomes: ["applied", "unstorable"] });
  const named = await pool.query(
    "SELECT body -> 'rollupLabels' AS labels FROM usage_record JOIN catalog USING (catalog_id) ORDER BY 1",
  );
  expect(named.rows.map((row) => row.labels)).toEqual([[], ["team"], ["team"]]);
});

test("a registration that failed is made again", async () => {
  const { pool } = await useServedDatabase();
  const register = registerOnce(pool, testCatalog());
  await pool.query("ALTER TABLE catalog RENAME TO catalog_away");
  await expect(register()).rejects.toThrow("catalog");
  await pool.query("ALTER TABLE catalog_away RENAME TO catalog");
  expect((await register()).catalogId).toBeGreaterThan(0);
});

test("a catalog that is not kept is an error, not today's", async () => {
  const { pool } = await useServedDatabase();
  const catalogs = new AppliedCatalogs(testCatalog());
  await expect(catalogs.load(pool, [null, 7])).rejects.toThrow("catalog 7, which is not kept");
  expect(() => catalogs.get(7)).toThrow("not loaded");
  expect(catalogs.get(null)).toEqual(testCatalog());
});
