// `npm run chaos`: the whole service in real processes on real stores, with everything going wrong; then everything is counted.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError, Option } from "commander";
import { type Outcome, toText } from "./outcome.ts";
import { run } from "./run.ts";
import { FAULT_KINDS, type FaultKind } from "./timeline.ts";

interface Options {
  readonly minutes: number;
  readonly seed?: number;
  readonly json?: true;
  readonly keep?: string;
  readonly without: readonly FaultKind[];
}

const SEED_MAX = 2 ** 31 - 1;
const ROOT = fileURLToPath(new URL("../", import.meta.url));

async function main(options: Options): Promise<void> {
  const seed = options.seed ?? Math.floor(Math.random() * SEED_MAX);
  const dir = options.keep === undefined ? mkdtempSync(join(tmpdir(), "metering-chaos-")) : resolve(options.keep);
  mkdirSync(dir, { recursive: true });
  const tell = (line: string) => process.stderr.write(`${line}\n`);
  const outcome = await run({
    seed,
    minutes: options.minutes,
    commit: commitOf(),
    leftOut: options.without,
    dir,
    tell,
  }).catch((cause: unknown) => {
    tell(`what was there is kept in ${dir}`);
    throw cause;
  });
  process.stdout.write(options.json ? `${toJson(outcome)}\n` : toText(outcome));
  if (outcome.violations.length > 0) {
    process.exitCode = 1;
    writeFileSync(join(dir, "outcome.json"), toJson(outcome));
    tell(
      `stores, logs and journals are kept in ${dir}; again: npm run chaos -- --minutes ${options.minutes} --seed ${seed}`,
    );
  } else if (options.keep === undefined) rmSync(dir, { recursive: true, force: true });
}

function toJson(outcome: Outcome): string {
  return JSON.stringify(outcome);
}

/** With "+" where files differ from it; "unknown" outside of a clone. */
function commitOf(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: ROOT, stdio: ["ignore", "pipe", "ignore"] })
      .toString()
      .trim();
  try {
    return `${git("rev-parse", "--short=12", "HEAD")}${git("status", "--porcelain") === "" ? "" : "+"}`;
  } catch {
    return "unknown";
  }
}

function number(least: number, most: number, isWhole: boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value;
    throw new InvalidArgumentError(`must be ${isWhole ? "a whole number" : "a number"}, ${least}..${most}`);
  };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

const command = new Command("chaos")
  .description(
    "Runs two APIs, two workers, a webhook receiver, clients, Redis, PostgreSQL and the simulated Stripe as processes on loopback; kills, pauses, " +
      "cuts off, slows down, fills up, wipes and restarts them; lets all settle; then counts what every client was told against the stores.",
  )
  .requiredOption(
    "--minutes <n>",
    "how long things go wrong, 0.1..1440; some minutes of quiet come after",
    number(0.1, 1_440, false),
  )
  .option("--seed <n>", "which faults and which usage; default: drawn", number(0, SEED_MAX, true))
  .option("--json", "print one JSON object")
  .option(
    "--keep <dir>",
    "keep stores, logs and journals there; else they are kept where something was violated, in a directory that is named",
  )
  .addOption(
    new Option("--without <kinds...>", "kinds of faults to leave out").choices(FAULT_KINDS).default([], "all strike"),
  )
  .addHelpText(
    "after",
    "\nWhat is done and what must hold is told in chaos/README.md. The timeline goes to stderr.\nExit codes: 0 all held, 1 something did not, or the run failed, 130 interrupted.",
  )
  .action(main);

await command.parseAsync();
// Not left to end by itself: the runtime's teardown waits for writes that were under way on connections that were reset, at full speed and for ever
// (Node 24, Environment::CleanupHandles).
process.stdout.write("", () => process.exit());
