// Plays one seed in a process of its own, as by hand, on the run's PostgreSQL.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, inject } from "vitest";
import type { SimulationReport } from "../../simulation/report.ts";

const COMMAND = fileURLToPath(new URL("../../simulation/simulate-billing.ts", import.meta.url));
/** A ninth of what is played by hand; all kinds of customers, records and troubles are there. */
const SIZE = ["--customers", "24", "--records", "1000"];
export const TEN_MINUTES_MS = 600_000;

/** Rejects with the command's last words when it does not end with a report. */
export function play(...args: readonly string[]): Promise<SimulationReport> {
  return new Promise((resolve, reject) => {
    const all = [COMMAND, "--json", "--database-url", inject("postgresUrl"), ...SIZE, ...args];
    execFile(process.execPath, all, { maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (stdout === "") reject(new Error(stderr, { cause: error }));
      else resolve(JSON.parse(stdout) as SimulationReport);
    });
  });
}

/** Fails with everything that does not add up, and how to see it again. */
export function expectToAddUp({ seed, violations }: SimulationReport): void {
  const again = `npm run simulate:billing -- --seed ${seed} ${SIZE.join(" ")}`;
  expect(violations, `${again}\n${violations.join("\n")}`).toEqual([]);
}
