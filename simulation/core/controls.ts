// `npm run simulate:controls`: production's code is sabotaged, a copy at a time, and the simulation must find each sabotage.
import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { type Finding, findingsTable } from "../findings.ts";
import { withSabotage } from "../sabotaged-copy.ts";
import { REGRESSIONS } from "./regressions.ts";
import { SABOTAGES, type SeededSabotage } from "./sabotages.ts";

/** Seeds within which each must be found. */
const SEEDS_MAX = 300;
/** A sabotage may make the service go round for ever. */
const LIMIT_MS = 600_000;

async function control(sabotage: SeededSabotage): Promise<Finding> {
  const finding = await withSabotage(sabotage, ["src", "simulation"], (copy) => playAgainst(sabotage, copy));
  return { sabotage: sabotage.name, ...finding };
}

/** The seeds that once found the fault, each by itself; then many. */
async function playAgainst({ name, from }: SeededSabotage, copy: string): Promise<Omit<Finding, "sabotage">> {
  const missed: number[] = [];
  for (const { seed } of REGRESSIONS.filter(({ sabotage }) => sabotage === name))
    if ((await simulate(copy, ["--seed", String(seed)])).caughtBy === undefined) missed.push(seed);
  const seeds = ["--seeds", String(SEEDS_MAX), "--from", String(from ?? 1)];
  const finding = await simulate(copy, [...seeds, "--threads", "1", "--until-failure"]);
  if (missed.length === 0) return finding;
  return { ...finding, caughtBy: undefined, message: `regressions no longer find it: ${missed.join(", ")}` };
}

function simulate(copy: string, what: readonly string[]): Promise<Omit<Finding, "sabotage">> {
  const script = join(copy, "simulation/core/simulate.ts");
  const args = [script, ...what, "--json"];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: LIMIT_MS }, (cause, stdout, stderr) => {
      const report = stdout.trim() === "" ? undefined : (JSON.parse(stdout) as Report);
      const [failed] = report?.failed ?? [];
      if (report === undefined) {
        const message = `it did not come to an end: ${stderr.trim().split("\n").at(-1) ?? String(cause)}`;
        resolve({ caughtBy: undefined, seeds: 0, message });
      } else resolve({ caughtBy: failed?.checker, seeds: report.seeds, message: failed?.message ?? "" });
    });
  });
}

interface Report {
  readonly seeds: number;
  readonly failed: readonly { readonly checker: string; readonly message: string }[];
}

async function run(only: string | undefined, { json }: { readonly json?: true }): Promise<void> {
  const chosen = SABOTAGES.filter(({ name }) => only === undefined || name.includes(only));
  const findings: Finding[] = [];
  const waiting = chosen.values();
  const worker = async () => {
    for (let next = waiting.next(); !next.done; next = waiting.next()) findings.push(await control(next.value));
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const inOrder = chosen.flatMap(({ name }) => findings.filter(({ sabotage }) => sabotage === name));
  process.stdout.write(json ? `${JSON.stringify(inOrder)}\n` : findingsTable(inOrder));
  if (findings.some(({ caughtBy }) => caughtBy === undefined)) process.exitCode = 1;
}

const command = new Command("simulate:controls")
  .description(
    `Sabotages production's code, a copy at a time, and plays up to ${SEEDS_MAX} seeds against each, and its regressions. Exit code 1 when one is not caught.`,
  )
  .argument("[only]", "sabotages whose name holds this text")
  .option("--json", "print one JSON list")
  .action(run);

await command.parseAsync();
