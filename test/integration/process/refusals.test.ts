// Commands that refuse what could only be a mistake, on a real database.
import { expect, test } from "vitest";
import { openPool } from "../../../src/postgres/pool.ts";
import { startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { runCommand } from "../../support/command.ts";
import { useServedDatabase } from "../../support/postgres.ts";

test("a flush of a customer that nobody knows is refused", { timeout: 60_000 }, async ({ onTestFinished }) => {
  const { pool, url } = await useServedDatabase();
  const stripe = await startStripeSimulator({ port: 0 });
  onTestFinished(() => stripe.close());
  const settings = { DATABASE_URL: url, STRIPE_SECRET_KEY: "sk_test_1", STRIPE_API_BASE: stripe.url };
  const flush = (customer: string) => runCommand(["flush", "--customer", customer], settings);

  const unknown = await flush("amce");
  expect(unknown).toMatchObject({ exitCode: 1, stdout: "" });
  expect(unknown.stderr).toContain("the ledger knows no customer amce: nothing of it was ever recorded");
  expect((await pool.query("SELECT FROM flush_request")).rowCount).toBe(0);

  await pool.query("INSERT INTO account (customer_id, stripe_customer_id) VALUES ('acme', 'cus_1')");
  expect((await flush("cus_1")).stderr).toContain("it pays for acme: ask for --customer acme");
  expect(await flush("acme")).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("Everything of acme") });
});

test("what needs every process stopped is refused while one runs", { timeout: 60_000 }, async ({ onTestFinished }) => {
  const { pool, url } = await useServedDatabase();
  const identity = async () => (await pool.query("SELECT deployment_id, intake FROM deployment")).rows;
  const before = await identity();
  // As a process of the service names itself.
  const process = openPool({
    connectionString: url,
    applicationName: "metering 4711-0a1b2c3d",
    maxConnections: 1,
    statementTimeoutMs: 30_000,
    onIdleError: () => {},
  });
  onTestFinished(async () => {
    if (!process.ended) await process.end();
  });
  await process.query("SELECT 1");
  for (const flag of ["--restored", "--leave-redis"]) {
    const refused = await runCommand(["migrate", flag], { DATABASE_URL: url });
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toContain("a process of the service runs on this database (metering 4711-0a1b2c3d)");
  }
  expect(await runCommand(["migrate"], { DATABASE_URL: url })).toMatchObject({ exitCode: 0 });
  expect(await identity()).toEqual(before);

  await process.end();
  // Its server process ends a moment later.
  const connections = "SELECT FROM pg_stat_activity WHERE application_name = 'metering 4711-0a1b2c3d'";
  await expect.poll(async () => (await pool.query(connections)).rowCount, { timeout: 20_000 }).toBe(0);
  expect(await runCommand(["migrate", "--restored"], { DATABASE_URL: url })).toMatchObject({ exitCode: 0 });
  expect(await identity()).not.toEqual(before);
});
