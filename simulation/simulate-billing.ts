// `npm run simulate:billing`: a quarter of billing in minutes, with everything going wrong, and every token accounted for in the end.
import { Command, InvalidArgumentError } from "commander";
import { Progress } from "../src/process/progress.ts";
import { play, type SimulationOptions } from "./halves.ts";
import { toReport, toText } from "./report.ts";

interface Options {
  readonly seed?: number;
  readonly customers: number;
  readonly records: number;
  readonly calm?: true;
  readonly json?: true;
  readonly databaseUrl?: string;
}

const SEED_MAX = 2 ** 31 - 1;

async function run(options: Options): Promise<void> {
  const seed = options.seed ?? Math.floor(Math.random() * SEED_MAX);
  const simulation: SimulationOptions = {
    seed,
    customers: options.customers,
    records: options.records,
    calm: options.calm === true,
    serverUrl: options.databaseUrl,
  };
  process.stderr.write(`simulate-billing: seed ${seed}\n`);
  const progress = new Progress("simulate-billing", 100, process.stderr);
  const halves = await play(simulation, interrupted(), (percent, what) => progress.show(percent, what)).finally(() =>
    progress.end(),
  );
  const report = toReport(simulation, halves);
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : toText(report));
  if (report.violations.length > 0) process.exitCode = 1;
}

/** Rejects on SIGINT or SIGTERM, so that the server, which does not end with this process, is stopped and its data removed. */
function interrupted(): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => reject(new Error("interrupted")));
  // Nobody may be waiting when it comes.
  promise.catch(() => {});
  return promise;
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`must be a whole number, ${least}..${most}`);
  };
}

const command = new Command("simulate:billing")
  .description(
    "Plays a quarter of billing on virtual time: the service's own code, a real PostgreSQL, the Stripe simulator over HTTP. Half of the customers " +
      "are billed through v1 meter events, half through the stream. Then compares every final invoice with what was recorded.",
  )
  .option("--seed <n>", "of everything that is drawn; the same world and the same troubles again", whole(0, SEED_MAX))
  .option("--customers <n>", "of both halves together", whole(2, 10_000), 200)
  .option("--records <n>", "of both halves together", whole(2, 1_000_000), 9_000)
  .option(
    "--calm",
    "nothing goes wrong, and all usage is in time: every invoice must equal what was used in its period",
  )
  .option(
    "--database-url <url>",
    "a PostgreSQL server to make databases on; default: one of its own, in a temporary directory",
  )
  .option("--json", "print one JSON object")
  .addHelpText(
    "after",
    "\nWhat it means is told in simulation/README.md. Exit codes: 0 everything adds up, 1 something does not.",
  )
  .action(run);

try {
  await command.parseAsync();
} catch (cause) {
  process.stderr.write(
    `simulate-billing: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}\n`,
  );
  process.exit(1);
}
