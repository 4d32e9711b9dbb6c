// The runbook knows every word that an operator can meet: what the code can say, it explains.
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFileSync(ROOT + path, "utf8");
const textOf = (pattern: string) => globSync(pattern, { cwd: ROOT }).sort().map(read).join("\n");
/** First cells of the tables: what an operator sees. */
const explained = wordsOf(read("docs/runbook.md"), /^\|([^|]*)\|/gm).flatMap((cell) => wordsOf(cell, /`(\w+)`/g));

/** All that the first group matches. */
function wordsOf(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? ""))].filter((word) => word !== "");
}

/** The words that a CHECK allows to a column, by the latest migration that says so. */
function allowed(column: string): string[] {
  const checks = [
    ...textOf("src/postgres/migrations/*.sql").matchAll(new RegExp(`CHECK \\(${column} IN \\(([^)]*)\\)`, "g")),
  ];
  return checks.flatMap(([, list = ""]) => wordsOf(list, /'(\w+)'/g));
}

test.each<[what: string, words: readonly string[], atLeast: number]>([
  ["why reports are held, in the domain", wordsOf(textOf("src/domain/*.ts"), /HELD_[A-Z_]+ = "(\w+)"/g), 4],
  ["what Stripe refuses at once", wordsOf(read("src/stripe/outcome.ts"), /refused\("(\w+)"\)/g), 6],
  ["what Stripe refuses later", wordsOf(read("src/stripe-simulator/usage/error-codes.ts"), /"(\w+)"/g), 9],
  ["what an operator holds", wordsOf(textOf("src/postgres/queries/*.sql"), /state = 'held', reason = '(\w+)'/g), 1],
  ["explanations of drift", allowed("explanation"), 5],
  ["why drift is left open", allowed("hindrance"), 0],
  ["refused records", allowed("reason"), 3],
  ["losses of the buffer", ["new_epoch", "lost_entries"], 2],
])("the runbook explains %s", (_, words, atLeast) => {
  expect(words.length).toBeGreaterThanOrEqual(atLeast);
  expect(words.filter((word) => !explained.includes(word))).toEqual([]);
});
