// `npm run chaos:controls`: adapters are sabotaged, a copy at a time, and a run of chaos must find each sabotage.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { Command } from "commander";
import { type Finding, findingsTable } from "../simulation/findings.ts";
import { withSabotage } from "../simulation/sabotaged-copy.ts";
import type { Outcome } from "./outcome.ts";
import { type ChaosSabotage, SABOTAGES } from "./sabotages.ts";

/** Each must be found by one of these runs. */
const SEEDS = [1, 2, 3];
const MINUTES = 2;
/** A sabotage may keep everything from settling. */
const LIMIT_MS = 1_500_000;

async function control(sabotage: ChaosSabotage): Promise<Finding> {
  const parts = ["src", "gen", "simulation", "chaos", "bin", "metering.config.json"];
  return withSabotage(sabotage, parts, async (copy) => {
    let seeds = 0;
    for (const seed of SEEDS) {
      seeds += 1;
      const outcome = await play(copy, seed, sabotage);
      if (typeof outcome === "string")
        return {
          sabotage: sabotage.name,
          caughtBy: undefined,
          seeds,
          message: `it did not come to an end: ${outcome}`,
        };
      const [violation] = outcome.violations;
      if (violation !== undefined)
        return { sabotage: sabotage.name, caughtBy: violation.checker, seeds, message: violation.message };
    }
    return { sabotage: sabotage.name, caughtBy: undefined, seeds, message: "" };
  });
}

/** The outcome, or the last line of what was said instead. */
function play(copy: string, seed: number, { without }: ChaosSabotage): Promise<Outcome | string> {
  const args = [join(copy, "chaos/chaos.ts"), "--minutes", String(MINUTES), "--seed", String(seed), "--json"];
  const options = without.length === 0 ? [] : ["--without", ...without];
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...args, ...options],
      { cwd: copy, timeout: LIMIT_MS, maxBuffer: 1e8 },
      (cause, stdout, stderr) => {
        if (stdout.trim() === "") resolve(stderr.trim().split("\n").at(-1) ?? String(cause));
        else resolve(JSON.parse(stdout) as Outcome);
      },
    );
  });
}

async function run(only: string | undefined, { json }: { readonly json?: true }): Promise<void> {
  const findings: Finding[] = [];
  // One after the other: each is a whole deployment.
  for (const sabotage of SABOTAGES.filter(({ name }) => only === undefined || name.includes(only))) {
    process.stderr.write(`${sabotage.name} ...\n`);
    findings.push(await control(sabotage));
  }
  process.stdout.write(json ? `${JSON.stringify(findings)}\n` : findingsTable(findings));
  if (findings.some(({ caughtBy }) => caughtBy === undefined)) process.exitCode = 1;
}

const command = new Command("chaos:controls")
  .description(
    `Sabotages adapters, a copy at a time, and runs up to ${SEEDS.length} times ${MINUTES} minutes of chaos against each. Exit code 1 when one is not caught.`,
  )
  .argument("[only]", "sabotages whose name holds this text")
  .option("--json", "print one JSON list")
  .action(run);

await command.parseAsync();
