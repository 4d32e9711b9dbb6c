// `metering verify` and `metering rebuild` on a real database, as an operator runs them.
import { expect, test } from "vitest";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { testCatalog } from "../../support/catalog.ts";
import { CommandProcess, runCommand } from "../../support/command.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

const NOON = Date.UTC(2026, 9, 12, 12);

async function served() {
  const database = await useServedDatabase();
  const ledger = postgresLedger(database.pool, testCatalog(), 2);
  const records = ["acme", "cus_1"].flatMap((customerId) =>
    [0, 86_400_000].map((ms) =>
      usageRecord({ customerId, eventTimeMs: NOON + ms, measurements: { input_tokens: 5n } }),
    ),
  );
  await ledger.apply(records);
  const metering = (...args: string[]) => runCommand(args, { DATABASE_URL: database.url });
  return { database, metering };
}

test("nothing differs, something differs, rebuilt", async () => {
  const { database, metering } = await served();
  expect(await metering("verify")).toEqual({
    exitCode: 0,
    stdout: "4 days of 2 customers: nothing differs; 0 days not verified, since their raw records are not kept.\n",
    stderr: "",
  });
  await database.pool.query(
    "UPDATE rollup_day SET quantity = 50 WHERE customer_id = 'acme' AND window_start = '2026-10-12Z' AND quantity = 5",
  );
  const line = "acme  2026-10-12T00:00:00Z  rollup_day.quantity  input_tokens openai/gpt-5: must be 5, is 50\n";
  expect(await metering("verify")).toMatchObject({
    exitCode: 1,
    stdout: `${line}4 days of 2 customers: 1 DIFFERENCES; 0 days not verified, since their raw records are not kept.\n`,
  });
  const json = await metering("verify", "--customer", "acme", "--to", "2026-10-13", "--json");
  expect(json.exitCode).toBe(1);
  expect(
    json.stdout
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text)),
  ).toEqual([
    {
      customerId: "acme",
      windowStart: "2026-10-12T00:00:00Z",
      table: "rollup_day",
      column: "quantity",
      of: "input_tokens openai/gpt-5",
      expected: "5",
      found: "50",
    },
    { customers: 1, days: 1, unverifiedDays: 0, differences: 1, interrupted: false },
  ]);
  expect(await metering("verify", "--from", "2026-10-13")).toMatchObject({ exitCode: 0 });
  expect(await metering("rebuild", "--dry-run")).toMatchObject({
    exitCode: 0,
    stdout: `${line}4 days: 1 differences would be rebuilt, 0 left; 0 days stay as they are, since their raw records are not kept.\n`,
  });
  expect(await metering("verify")).toMatchObject({ exitCode: 1 });
  expect(await metering("rebuild", "--from", "2026-10-13")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^2 days: 0 /),
  });
  expect(await metering("rebuild")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining(`${line}4 days: 1 `),
  });
  expect(await metering("verify")).toMatchObject({ exitCode: 0 });
});

test("what raw records say nothing of is left, and said", async () => {
  const { database, metering } = await served();
  await database.pool.query(
    "UPDATE pending_window SET reported = 4, total = 9 WHERE customer_id = 'acme' AND window_start < '2026-10-13Z'",
  );
  const left = "NOT REBUILT  acme  2026-10-12T12:00:00Z  pending_window.reported  input_tokens: must be 0, is 4\n";
  for (const args of [["--dry-run"], []])
    expect(await metering("rebuild", ...args)).toMatchObject({ exitCode: 1, stdout: expect.stringContaining(left) });
  expect(await metering("verify", "--json")).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining('"column":"reported"'),
  });
});

test("interrupted: it says so, and how far it came", async () => {
  const { database } = await served();
  const holder = await database.pool.connect();
  await holder.query("BEGIN; LOCK TABLE rollup_day IN ACCESS EXCLUSIVE MODE");
  const running = new CommandProcess(["verify", "--json"], { DATABASE_URL: database.url });
  await expect
    .poll(
      async () => {
        const waiting = await database.pool.query(
          "SELECT FROM pg_stat_activity WHERE application_name = 'metering verify' AND wait_event_type = 'Lock'",
        );
        return waiting.rowCount;
      },
      { timeout: 20_000 },
    )
    .toBeGreaterThan(0);
  const stopped = running.signal("SIGTERM");
  await holder.query("ROLLBACK");
  holder.release();
  await stopped;
  const { exitCode, stdout } = await running.result();
  expect(exitCode).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({ interrupted: true, differences: 0 });
});

test.each([
  [["verify", "--from", "2026-10-12T00:00Z"], /must be a day/],
  [["verify", "--from", "2026-10-12", "--to", "2026-10-12"], /before/],
  [["rebuild", "--from", "2026-02-30", "--to", "2026-02-30"], /before|must be a day/],
])("%s: told in one line, exit code 2", async (args, line) => {
  const { exitCode, stdout, stderr } = await runCommand(args, {});
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toMatch(line);
});
