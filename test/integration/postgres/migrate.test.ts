import { expect, test } from "vitest";
import { DeploymentError, openDeployment } from "../../../src/postgres/deployment.ts";
import { checkSchema, migrate, SchemaError } from "../../../src/postgres/migrate.ts";
import { useTestDatabase } from "../../support/postgres.ts";

test("20 migrators at once make one schema", async () => {
  const database = await useTestDatabase({ template: "template0" });
  await expect(checkSchema(database.pool)).rejects.toThrow(/run "metering migrate" first/);
  const applied = (await Promise.all(Array.from({ length: 20 }, () => migrate(database.pool)))).flat();
  expect(new Set(applied).size).toBe(applied.length);
  expect(applied[0]).toBe("0001_ledger");
  await checkSchema(database.pool);
  expect(await migrate(database.pool)).toEqual([]);
});

test("a newer schema is refused only when something in it is breaking, an edited one always", async () => {
  const { pool } = await useTestDatabase();
  const add = "INSERT INTO schema_migration (version, name, checksum, breaking) VALUES ($1, $2, 'x', $3)";
  await pool.query(add, [9001, "9001_addition", false]);
  await checkSchema(pool);
  await pool.query(add, [9002, "9002_breaking", true]);
  await expect(checkSchema(pool)).rejects.toThrow(/needs a newer version/);
  await expect(migrate(pool)).rejects.toThrow(SchemaError);
  await pool.query("DELETE FROM schema_migration WHERE version > 9000");
  await pool.query("UPDATE schema_migration SET checksum = 'edited' WHERE version = 1");
  await expect(checkSchema(pool)).rejects.toThrow(/differs/);
});

test("the deployment is fixed by its first start", async () => {
  const { pool } = await useTestDatabase();
  const opened = await Promise.all(Array.from({ length: 5 }, () => openDeployment(pool, 8, "postgres")));
  expect(new Set(opened.map((d) => d.deploymentId)).size).toBe(1);
  await expect(openDeployment(pool, 16, "postgres")).rejects.toThrow(/started with 8/);
  await openDeployment(pool, 8, "redis");
  await expect(openDeployment(pool, 8, "postgres")).rejects.toThrow(DeploymentError);
});
