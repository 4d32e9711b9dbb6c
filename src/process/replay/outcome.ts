// What a replay found, and how it is told.
import { type Difference, differencesOf, type Sums } from "./sums.ts";

export interface ReplayOutcome {
  /** Rows of the trace. */
  readonly records: number;
  readonly repeat: number;
  /** As the service answered. */
  readonly acknowledged: number;
  readonly duplicates: number;
  /** By meter and "requests": what the trace adds up to, and what the service counted. */
  readonly sent: Sums;
  readonly ledger: Sums;
  /** By Stripe event name: what the catalog makes of the trace, and what Stripe counted. */
  readonly billable: Sums;
  readonly stripe: Sums;
}

/** Every place where what was read back is not what was sent, in words. Empty when all is equal. */
export function disagreements(outcome: ReplayOutcome): string[] {
  const { records, repeat, acknowledged, duplicates } = outcome;
  const lines: string[] = [];
  if (acknowledged !== records) lines.push(`of ${records} records, ${acknowledged} were acknowledged`);
  const expected = records * (repeat - 1);
  if (duplicates !== expected) lines.push(`${duplicates} sends were told to be duplicates, not ${expected}`);
  return [
    ...lines,
    ...differencesOf(outcome.sent, outcome.ledger).map((place) => describe("the ledger", place)),
    ...differencesOf(outcome.billable, outcome.stripe).map((place) => describe("Stripe", place)),
  ];
}

/** One JSON object on one line; sums keep all their digits. */
export function toJson(outcome: ReplayOutcome): string {
  const { records, acknowledged, duplicates } = outcome;
  return [
    `{"records":${records},"acknowledged":${acknowledged},"duplicates":${duplicates}`,
    `"ledger":${totalsJson(outcome.ledger, namesOf(outcome.sent, outcome.ledger))}`,
    `"stripe":${totalsJson(outcome.stripe, namesOf(outcome.billable, outcome.stripe))}`,
    `"equal":${disagreements(outcome).length === 0}}`,
  ].join(",");
}

/** For people. */
export function toTable(outcome: ReplayOutcome): string {
  const { records, acknowledged, duplicates, sent, ledger, billable, stripe } = outcome;
  const rows = [
    ...namesOf(sent, ledger).map((name) => ["ledger", name, sent.total(name), ledger.total(name)]),
    ...namesOf(billable, stripe).map((name) => ["Stripe", name, billable.total(name), stripe.total(name)]),
  ].map((row) => row.map(String));
  const table = [["where", "what", "sent", "counted"], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map((row) =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "),
  );
  const verdict =
    disagreements(outcome).length === 0
      ? "Equal, in sum and for every customer."
      : "NOT EQUAL: see the lines on standard error.";
  return `${records} records, ${acknowledged} acknowledged, ${duplicates} duplicates\n\n${lines.join("\n")}\n\n${verdict}\n`;
}

function namesOf(expected: Sums, found: Sums): readonly string[] {
  // Tokens before requests, as a reader expects; else by name.
  const names = [...new Set([...expected.names(), ...found.names()])].sort();
  return [...names.filter((name) => name !== "requests"), ...names.filter((name) => name === "requests")];
}

function totalsJson(sums: Sums, names: readonly string[]): string {
  return `{${names.map((name) => `${JSON.stringify(name)}:${sums.total(name)}`).join(",")}}`;
}

function describe(where: string, { customerId, name, expected, found }: Difference): string {
  return `${where} has ${found} ${name} of ${customerId}, not ${expected}`;
}
