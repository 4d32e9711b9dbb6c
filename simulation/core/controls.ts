// `npm run simulate:controls`: production's code is sabotaged, a copy at a time, and the simulation must find each sabotage.
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { REGRESSIONS } from "./regressions.ts";
import { SABOTAGES, type Sabotage } from "./sabotages.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Seeds within which each must be found. */
const SEEDS_MAX = 300;
/** A sabotage may make the service go round for ever. */
const LIMIT_MS = 600_000;

/** How a sabotage came out. */
interface Finding {
  readonly sabotage: string;
  /** The rule that found it; undefined: nothing did. */
  readonly caughtBy: string | undefined;
  /** Played until then. */
  readonly seeds: number;
  readonly message: string;
}

async function control(sabotage: Sabotage): Promise<Finding> {
  const copy = await mkdtemp(join(tmpdir(), "metering-control-"));
  try {
    for (const part of ["src", "simulation", "package.json"])
      await cp(join(ROOT, part), join(copy, part), { recursive: true });
    await symlink(join(ROOT, "node_modules"), join(copy, "node_modules"));
    await apply(sabotage, copy);
    const missed: number[] = [];
    for (const { seed } of REGRESSIONS.filter((one) => one.sabotage === sabotage.name))
      if ((await simulate(copy, ["--seed", String(seed)])).caughtBy === undefined) missed.push(seed);
    const many = [
      "--seeds",
      String(SEEDS_MAX),
      "--from",
      String(sabotage.from ?? 1),
      "--threads",
      "1",
      "--until-failure",
    ];
    const finding = await simulate(copy, many);
    if (missed.length === 0) return { sabotage: sabotage.name, ...finding };
    const message = `regressions no longer find it: ${missed.join(", ")}`;
    return { sabotage: sabotage.name, ...finding, caughtBy: undefined, message };
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** Throws where the text to be replaced is not there just once: then production's code has moved on, and the sabotage has to follow. */
async function apply({ name, file, find, replace }: Sabotage, copy: string): Promise<void> {
  const path = join(copy, file);
  const text = await readFile(path, "utf8");
  const found = text.split(find).length - 1;
  if (found !== 1) throw new Error(`"${name}": its text is ${found} times in ${file}, not once`);
  await writeFile(
    path,
    text.replace(find, () => replace),
  );
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
  process.stdout.write(json ? `${JSON.stringify(inOrder)}\n` : table(inOrder));
  if (findings.some(({ caughtBy }) => caughtBy === undefined)) process.exitCode = 1;
}

function table(findings: readonly Finding[]): string {
  const rows = findings.map(({ sabotage, caughtBy, seeds, message }) => {
    const what = caughtBy === undefined ? `NOT CAUGHT ${message}` : caughtBy;
    return [sabotage, what, caughtBy === undefined ? "" : String(seeds)] as const;
  });
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0), 12));
  const line = ([a, b, c]: readonly [string, string, string]) =>
    `${a.padEnd(widths[0] ?? 0)}  ${b.padEnd(widths[1] ?? 0)}  ${c}\n`;
  return [["sabotage", "caught by", "seeds"] as const, ...rows].map(line).join("");
}

const command = new Command("simulate:controls")
  .description(
    `Sabotages production's code, a copy at a time, and plays up to ${SEEDS_MAX} seeds against each, and its regressions. Exit code 1 when one is not caught.`,
  )
  .argument("[only]", "sabotages whose name holds this text")
  .option("--json", "print one JSON list")
  .action(run);

await command.parseAsync();
