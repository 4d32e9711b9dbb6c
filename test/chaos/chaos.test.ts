// Five minutes of chaos, as `npm run chaos` plays them: real processes, by themselves on the machine, after all other tests.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Outcome } from "../../chaos/outcome.ts";

const CHAOS = fileURLToPath(new URL("../../chaos/chaos.ts", import.meta.url));
const MINUTES = 5;
const SEED = 1;
/** Five minutes of faults, and whatever a slow machine takes to settle. */
const LIMIT_MS = 1_380_000;

test("nothing lost, nothing twice, whatever fails", { timeout: LIMIT_MS }, async () => {
  const { outcome, told } = await play(["--minutes", String(MINUTES), "--seed", String(SEED), "--json"]);
  if (outcome === undefined) throw new Error(`there is no outcome:\n${told}`);
  // The timeline and the outcome, for whoever reads the log.
  process.stdout.write(`${told}${JSON.stringify({ ...outcome, violations: outcome.violations.length })}\n`);
  expect(outcome.violations).toEqual([]);
  expect([outcome.records.lost, outcome.records.doubled]).toEqual([0, 0]);
  // Else it proves nothing.
  expect(outcome.deliveries.acknowledged).toBeGreaterThan(1_000);
  expect(outcome.faults.total).toBeGreaterThan(30);
  expect(outcome.money.metersCompared).toBeGreaterThan(0);
});

function play(args: readonly string[]): Promise<{ outcome: Outcome | undefined; told: string }> {
  const options = { maxBuffer: 1e8, timeout: LIMIT_MS - 10_000, killSignal: "SIGTERM" } as const;
  return new Promise((resolve) => {
    execFile(process.execPath, [CHAOS, ...args], options, (_, stdout, stderr) => {
      resolve({ outcome: stdout.trim() === "" ? undefined : (JSON.parse(stdout) as Outcome), told: stderr });
    });
  });
}
