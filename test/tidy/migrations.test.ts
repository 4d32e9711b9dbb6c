// Of migrations that are not marked breaking it is promised that older programs go on working. test/e2e/upgrade tries it with the last
// release; this finds by reading what surely breaks one.
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What an older program cannot live with, and why. */
const BREAKING: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/\bDROP\s+TABLE\b/i, "it reads or writes the table"],
  [/\bDROP\s+COLUMN\b/i, "it reads or writes the column"],
  [/\bRENAME\b/i, "it knows the old name"],
  [/\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b/i, "it reads the old type"],
  [/\bALTER\s+COLUMN\s+\w+\s+(SET\s+NOT\s+NULL|DROP\s+DEFAULT)\b/i, "it writes no value"],
  [/\bADD\s+COLUMN\s+(?!.*\b(DEFAULT|GENERATED)\b)[^,;]*\bNOT\s+NULL\b/i, "it writes no value"],
];

function problems(sql: string): string[] {
  const statements = sql.replaceAll(/--.*/g, "");
  return BREAKING.filter(([pattern]) => pattern.test(statements)).map(([, why]) => why);
}

const additive = globSync("src/postgres/migrations/*.sql", { cwd: ROOT })
  .sort()
  .map((path) => ({ path, sql: readFileSync(ROOT + path, "utf8") }))
  .filter(({ sql }) => !sql.startsWith("-- breaking"));

test("migrations that are not marked breaking break no older program", () => {
  expect(additive.length).toBeGreaterThan(1);
  expect(additive.filter(({ sql }) => problems(sql).length > 0).map(({ path }) => path)).toEqual([]);
});

test.each([
  ["DROP TABLE shard;", 1],
  ["ALTER TABLE shard DROP COLUMN epoch;", 1],
  ["ALTER TABLE shard RENAME COLUMN epoch TO era;", 1],
  ["ALTER TABLE shard ALTER COLUMN epoch TYPE uuid;", 1],
  ["ALTER TABLE shard ALTER COLUMN watermark SET NOT NULL;", 1],
  ["ALTER TABLE shard ADD COLUMN tier text NOT NULL;", 1],
  ["ALTER TABLE shard\n  ADD COLUMN tier text NOT NULL DEFAULT '',\n  ADD COLUMN other text;", 0],
  ["-- DROP TABLE shard\nCREATE INDEX i ON shard (epoch);", 0],
  ["CREATE TABLE t (a text NOT NULL);", 0],
])("%s has %i problems", (sql, count) => {
  expect(problems(sql)).toHaveLength(count);
});
