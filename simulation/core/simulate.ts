// `npm run simulate`: worlds by the thousand, each from its seed, in which everything goes wrong and nothing may be lost or counted twice.
import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { Progress } from "../../src/process/progress.ts";
import { play } from "./play.ts";
import { runSeeds, type SeedResult, toResult } from "./run-seeds.ts";

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly seed?: number;
  readonly threads: number;
  readonly untilFailure?: true;
  readonly json?: true;
}

const SEED_MAX = 2 ** 31 - 1;

async function run(options: Options): Promise<void> {
  const startMs = performance.now();
  const results = options.seed === undefined ? await many(options) : [await one(options.seed, options.json === true)];
  const failed = results.filter(({ violation }) => violation !== undefined);
  const sum = (of: (result: SeedResult) => number) => results.reduce((total, result) => total + of(result), 0);
  const report = {
    seeds: results.length,
    from: options.seed ?? options.from,
    failed: failed.map(({ seed, violation }) => ({ seed, ...violation })),
    records: sum(({ records }) => records),
    reports: sum(({ reports }) => reports),
    lostByStores: sum(({ lost }) => lost),
    gapsReported: sum(({ gaps }) => gaps),
    steps: sum(({ steps }) => steps),
    virtualDays: Math.round(sum(({ virtualMs }) => virtualMs) / 86_400_000),
    seconds: Math.round((performance.now() - startMs) / 1000),
  };
  if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    if (options.seed === undefined) for (const { seed } of failed.slice(0, HISTORIES_MAX)) await one(seed, false);
    process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    process.stdout.write(failed.length === 0 ? "Nothing lost, nothing twice.\n" : `${failed.length} seeds failed.\n`);
  }
  if (failed.length > 0) process.exitCode = 1;
}

/** Histories that are printed, of many seeds that failed. */
const HISTORIES_MAX = 3;

async function many({ seeds, from, threads, untilFailure }: Options): Promise<SeedResult[]> {
  const results: SeedResult[] = [];
  const progress = new Progress("simulate", seeds, process.stderr);
  const onResult = (result: SeedResult) => {
    results.push(result);
    progress.show(results.length, `${results.filter(({ violation }) => violation !== undefined).length} failed`);
    return untilFailure === undefined || result.violation === undefined;
  };
  const list = Array.from({ length: seeds }, (_, i) => from + i);
  await runSeeds({ seeds: list, threads, onResult }).finally(() => progress.end());
  return results.sort((a, b) => a.seed - b.seed);
}

/** Plays one seed and tells what led to what must not be. */
async function one(seed: number, quiet: boolean): Promise<SeedResult> {
  const outcome = await play(seed, true);
  const [violation] = outcome.violations;
  if (!quiet && violation !== undefined) {
    process.stdout.write(`seed ${seed}: ${violation.checker}: ${violation.message}\n${outcome.history.join("\n")}\n`);
    process.stdout.write(`again: npm run simulate -- --seed ${seed}\n\n`);
  }
  return toResult(outcome);
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`must be a whole number, ${least}..${most}`);
  };
}

const command = new Command("simulate")
  .description(
    "Plays worlds on virtual time: the service's own intake, drain, flush, lease, reconciliation and closing, several processes of each, " +
      "against models of Redis, PostgreSQL and Stripe that lose, delay and repeat what goes to them. Then all must settle, and add up.",
  )
  .option("--seeds <n>", "how many to play", whole(1, 10_000_000), 1_000)
  .option("--from <n>", "the first of them", whole(0, SEED_MAX), 1)
  .option("--seed <n>", "play this one alone, and tell its history where it fails", whole(0, SEED_MAX))
  .option("--threads <n>", "side by side", whole(1, 64), availableParallelism())
  .option("--until-failure", "play no more once a seed has failed")
  .option("--json", "print one JSON object")
  .addHelpText(
    "after",
    "\nWhat it means is told in simulation/core/README.md. Exit codes: 0 all is well, 1 a seed failed.",
  )
  .action(run);

await command.parseAsync();
