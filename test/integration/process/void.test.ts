// `metering void` on a real database, as an operator runs it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { testCatalog } from "../../support/catalog.ts";
import { CommandProcess, type CommandResult, runCommand } from "../../support/command.ts";
import { type TestDatabase, useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

const SHARDS = 2;
const REASON = ["--reason", "sent by a test"];

async function served(): Promise<{ database: TestDatabase; metering: (...args: string[]) => Promise<CommandResult> }> {
  const database = await useServedDatabase();
  return { database, metering: (...args) => runCommand(args, { DATABASE_URL: database.url }) };
}

/** Applies records of one token each under these keys. */
async function recordKeys(database: TestDatabase, customerId: string, keys: readonly string[]): Promise<void> {
  const records = keys.map((idempotencyKey) =>
    usageRecord({ customerId, idempotencyKey, eventTimeMs: Date.UTC(2026, 9, 12), measurements: { input_tokens: 1n } }),
  );
  await postgresLedger(database.pool, testCatalog(), SHARDS).apply(records);
}

async function tokensOf({ pool }: TestDatabase, customerId: string): Promise<number> {
  const result = await pool.query<{ total: string | null }>(
    "SELECT sum(total) AS total FROM pending_window WHERE customer_id = $1 AND event_name = 'input_tokens'",
    [customerId],
  );
  return Number(result.rows[0]?.total);
}

function keyFile(text: string): string {
  const dir = mkdtempSync(join(tmpdir(), "metering-void-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, "keys.csv");
  writeFileSync(file, text);
  return file;
}

test("one record: voided, void already, not found", async () => {
  const { database, metering } = await served();
  await recordKeys(database, "acme", ["a", "b"]);
  const first = await metering("void", "acme", "a", ...REASON);
  expect(first).toEqual({ exitCode: 0, stdout: "Voided: 1 input_tokens of 2026-10-12T00:00:00.000Z.\n", stderr: "" });
  const again = await metering("void", "acme", "a", "--reason", "another", "--json");
  expect(again).toMatchObject({ exitCode: 0, stderr: "" });
  expect(JSON.parse(again.stdout)).toEqual({
    outcome: "already_voided",
    customerId: "acme",
    idempotencyKey: "a",
    voidedMeasurements: { input_tokens: "1" },
    eventTime: "2026-10-12T00:00:00.000Z",
    voidTime: expect.stringMatching(/^\d{4}-.*Z$/),
    reason: "sent by a test",
  });
  const unknown = await metering("void", "acme", "c", ...REASON);
  expect(unknown).toMatchObject({
    exitCode: 1,
    stdout: "",
    stderr: expect.stringMatching(/^metering: not found: .*buffer.*\n$/),
  });
  const unknownJson = await metering("void", "acme", "c", ...REASON, "--json");
  expect(unknownJson).toEqual({
    exitCode: 1,
    stdout: '{"outcome":"not_found","customerId":"acme","idempotencyKey":"c"}\n',
    stderr: "",
  });
  expect(await tokensOf(database, "acme")).toBe(1);
});

test("a file: all of it once, whatever was voided before; what is not found comes out as a file again", async () => {
  const { database, metering } = await served();
  const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
  await recordKeys(database, 'a,"b"', keys);
  await recordKeys(database, "acme", ["left", "gone"]);
  await metering("void", 'a,"b"', "k7", ...REASON);
  const lines = [
    "customer_id,idempotency_key",
    ...keys.map((key) => `"a,""b""",${key}`),
    "",
    "acme,gone",
    "acme,never",
    '"a,""b""",never',
  ];
  const file = keyFile(`${lines.join("\r\n")}\r\n`);
  const first = await metering("void", "--file", file, ...REASON);
  expect(first).toMatchObject({ exitCode: 1, stderr: "40 voided, 1 void already, 2 not found, of 43\n" });
  expect(first.stdout.split("\n").sort()).toEqual(["", '"a,""b""",never', "acme,never"]);
  expect([await tokensOf(database, 'a,"b"'), await tokensOf(database, "acme")]).toEqual([0, 1]);
  const rest = await metering("void", "--file", keyFile(first.stdout), ...REASON, "--json");
  expect(rest).toMatchObject({ exitCode: 1, stderr: "0 voided, 0 void already, 2 not found, of 2\n" });
  const again = await metering("void", "--file", keyFile(lines.slice(0, -2).join("\n")), ...REASON, "--json");
  expect(again).toMatchObject({ exitCode: 0, stderr: "0 voided, 41 void already, 0 not found, of 41\n" });
  const outcomes = again.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).outcome);
  expect(outcomes).toEqual(Array(41).fill("already_voided"));
});

test("a file that is interrupted: what is done is done, and the same command goes on", async () => {
  const { database, metering } = await served();
  const keys = Array.from({ length: 300 }, (_, i) => `k${i}`);
  await recordKeys(database, "acme", keys);
  const file = keyFile(keys.map((key) => `acme,${key}`).join("\n"));
  const args = ["void", "--file", file, ...REASON, "--json"];
  const running = new CommandProcess(args, { DATABASE_URL: database.url });
  await running.waitForOutput(/"k5"/);
  // While the shard is held nothing can be voided, so that the signal does not come too late.
  const holder = await database.pool.connect();
  await holder.query("BEGIN");
  await holder.query("SELECT FROM shard FOR UPDATE");
  const stopped = running.signal("SIGTERM");
  await holder.query("ROLLBACK");
  holder.release();
  await stopped;
  const interrupted = await running.result();
  expect(interrupted).toMatchObject({ exitCode: 130, stderr: expect.stringContaining("the same command goes on") });
  const left = await tokensOf(database, "acme");
  expect(left).toBe(300 - interrupted.stdout.trimEnd().split("\n").length);
  expect(left).toBeGreaterThan(0);
  expect(await metering(...args)).toMatchObject({ exitCode: 0, stderr: expect.stringContaining(`${left} voided, `) });
  expect(await tokensOf(database, "acme")).toBe(0);
});

test.each([
  ["no reason", ["acme", "a"], /--reason/],
  ["an empty reason", ["acme", "a", "--reason", ""], /--reason is required/],
  ["no key", ["acme", ...REASON], /idempotency_key is required/],
  ["a key that cannot be one", ["acme", "a b", ...REASON], /idempotency_key must be visible ASCII/],
  ["a record and a file", ["acme", "a", "--file", "keys.csv", ...REASON], /not both/],
  ["a file that is not there", ["--file", "/nowhere/keys.csv", ...REASON], /cannot be read/],
])("%s: told in one line, exit code 2", async (_, args, line) => {
  const { exitCode, stdout, stderr } = await runCommand(["void", ...args], {});
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toMatch(line);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test("a line that is wrong is told by its number, before anything is voided", async () => {
  const { database, metering } = await served();
  await recordKeys(database, "acme", ["a"]);
  for (const bad of ["acme", "acme,a,b", 'ac"me,a', ",a", "acme,ä"]) {
    const wrong = await metering("void", "--file", keyFile(`acme,a\n${bad}\n`), ...REASON);
    expect(wrong).toMatchObject({ exitCode: 2, stdout: "", stderr: expect.stringContaining("line 2: ") });
  }
  expect(await metering("void", "--file", keyFile(""), ...REASON)).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("has no keys"),
  });
  expect(await tokensOf(database, "acme")).toBe(1);
});
