// How sabotages came out, as a table.

export interface Finding {
  readonly sabotage: string;
  /** The rule that found it; undefined: nothing did. */
  readonly caughtBy: string | undefined;
  /** Played until then. */
  readonly seeds: number;
  readonly message: string;
}

export function findingsTable(findings: readonly Finding[]): string {
  const rows = findings.map(({ sabotage, caughtBy, seeds, message }) => {
    const what = caughtBy === undefined ? `NOT CAUGHT ${message}` : caughtBy;
    return [sabotage, what, caughtBy === undefined ? "" : String(seeds)] as const;
  });
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0), 12));
  const line = ([a, b, c]: readonly [string, string, string]) =>
    `${a.padEnd(widths[0] ?? 0)}  ${b.padEnd(widths[1] ?? 0)}  ${c}\n`;
  return [["sabotage", "caught by", "seeds"] as const, ...rows].map(line).join("");
}
