// `npm run bench`: how much of a bare gRPC server's rate is left when records are checked, made durable and acknowledged.
import { Command, InvalidArgumentError } from "commander";
import { Progress } from "../src/process/progress.ts";
import { BILLING_SCENARIOS, type BillingScenario, measureBilling } from "./billing/billing.ts";
import { type BillingMeasured, toBillingLines, toBillingReport } from "./billing/report.ts";
import { type Measured, machine, toReport, toTable } from "./report.ts";
import { type Run, runOnce, SHAPES, type Timing } from "./scenarios.ts";
import { toStreamsLines, toStreamsReport } from "./streams/report.ts";
import { measureStreams, STREAM_SCENARIOS, type StreamScenario, type StreamsMeasured } from "./streams/streams.ts";
import { startBench, type Target } from "./targets.ts";

interface Options {
  readonly seconds: number;
  readonly rounds: number;
  readonly only?: readonly string[];
  readonly quick?: true;
  readonly profile?: string;
  readonly json?: true;
}

const TARGETS: readonly Target["name"][] = ["empty", "redis", "redis+drain", "postgres"];
const WARM_UP_MS = 1_000;
/** Servers are up from the start, but their code is not compiled yet: a first round that is thrown away. */
const FIRST_ROUND: Timing = { warmUpMs: 0, measureMs: 2_000, loneMs: 200 };

function timingOf({ seconds, quick }: Options): { timing: Timing; first: Timing } {
  if (quick)
    return { timing: { warmUpMs: 300, measureMs: 1_000, loneMs: 500 }, first: { ...FIRST_ROUND, measureMs: 1_000 } };
  return { timing: { warmUpMs: WARM_UP_MS, measureMs: seconds * 1_000, loneMs: seconds * 500 }, first: FIRST_ROUND };
}

async function run(options: Options): Promise<void> {
  const rounds = options.quick ? 1 : options.rounds;
  const { timing, first } = timingOf(options);
  const interruption = interrupted();
  const wanted = (name: string) => options.only?.includes(name) ?? true;
  const record = TARGETS.some((name) => name !== "empty" && wanted(name))
    ? await measureRecordPath(options, rounds, { timing, first }, interruption)
    : { measured: [], versions: {} };
  const billing = BILLING_SCENARIOS.filter(wanted);
  const sent =
    billing.length === 0 ? undefined : await measureWayToStripe(billing, rounds, options.quick === true, interruption);
  const wantedStreams = STREAM_SCENARIOS.filter(wanted);
  const streams =
    wantedStreams.length === 0
      ? undefined
      : await measureAllStreams(wantedStreams, { ...timing, rounds, quick: options.quick === true }, interruption);
  if (options.json) {
    const report = toReport(record.measured, timing, rounds, record.versions);
    const rest = {
      ...(sent && { billing: toBillingReport(sent) }),
      ...(streams && { streams: toStreamsReport(streams) }),
    };
    process.stdout.write(`${JSON.stringify({ ...report, ...rest })}\n`);
  } else {
    const parts = [`${JSON.stringify(machine(record.versions))}\n`];
    if (record.measured.length > 0) parts.push(toTable(record.measured));
    if (sent !== undefined) parts.push(toBillingLines(sent));
    if (streams !== undefined) parts.push(toStreamsLines(streams));
    process.stdout.write(parts.join("\n"));
  }
}

async function measureRecordPath(
  options: Options,
  rounds: number,
  { timing, first }: { timing: Timing; first: Timing },
  interruption: Promise<never>,
): Promise<{ measured: readonly Measured[]; versions: Readonly<Record<string, string>> }> {
  const bench = await startBench(options.profile);
  const targets = bench.targets.filter(({ name }) => name === "empty" || (options.only?.includes(name) ?? true));
  const scenarios = SHAPES.flatMap((shape) => targets.map((target) => ({ target, shape, runs: [] as Run[] })));
  const progress = new Progress("bench", (rounds + 1) * scenarios.length, process.stderr);
  try {
    let done = 0;
    for (let round = 0; round <= rounds; round += 1) {
      for (const { target, shape, runs } of scenarios) {
        progress.show(done, `${round === 0 ? "warming up" : `round ${round}`}: ${target.name} ${shape.name}`);
        const one = await Promise.race([runOnce(target, shape, round === 0 ? first : timing), interruption]);
        if (round > 0) runs.push(one);
        done += 1;
      }
    }
  } finally {
    progress.end();
    await bench.stop();
  }
  if (bench.targets.length < TARGETS.length)
    process.stderr.write("bench: no redis-server or valkey-server here, Redis was not measured\n");
  return {
    measured: scenarios.map(({ target, shape, runs }) => ({ target: target.name, shape, runs })),
    versions: bench.versions,
  };
}

async function measureWayToStripe(
  scenarios: readonly BillingScenario[],
  rounds: number,
  quick: boolean,
  interruption: Promise<never>,
): Promise<BillingMeasured> {
  const progress = new Progress(
    "bench",
    scenarios.length * rounds + (scenarios.includes("planner") ? 1 : 0),
    process.stderr,
  );
  let done = 0;
  try {
    return await measureBilling(scenarios, rounds, quick, interruption, (step) => progress.show(done++, step));
  } finally {
    progress.end();
  }
}

async function measureAllStreams(
  scenarios: readonly StreamScenario[],
  timing: Parameters<typeof measureStreams>[1],
  interruption: Promise<never>,
): Promise<StreamsMeasured | undefined> {
  const steps =
    1 + timing.rounds * ((scenarios.includes("stream-feed") ? 2 : 0) + (scenarios.includes("stream-crowd") ? 2 : 0));
  const progress = new Progress("bench", steps, process.stderr);
  let done = 0;
  try {
    return await measureStreams(scenarios, timing, interruption, (step) => progress.show(done++, step));
  } finally {
    progress.end();
  }
}

/** Rejects on SIGINT or SIGTERM, so that the stores, which do not end with this process, are stopped and their data removed. */
function interrupted(): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => reject(new Error("interrupted")));
  // Nobody may be waiting when it comes.
  promise.catch(() => {});
  return promise;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 600)
    throw new InvalidArgumentError("must be a whole number, 1..600");
  return value;
}

function targetNames(list: string): readonly string[] {
  const names = list.split(",");
  const known: readonly string[] = [...TARGETS, ...BILLING_SCENARIOS, ...STREAM_SCENARIOS];
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new InvalidArgumentError(`must be of ${known.join(", ")}`);
  return names;
}

const command = new Command("bench")
  .description(
    "Measures RecordUsage and BatchRecordUsage over each store, beside an empty handler on the same gRPC server, by the same load generator. " +
      "Checks after every run that the store holds as many records as were acknowledged. Then the way to Stripe: reports a second through " +
      "each sink to a simulated Stripe, beside the bare SDK, and a pass of the planner over a million customers. Then streams: how long from a " +
      "record's acknowledgement to its update, and what ten thousand of them cost. Starts its own stores, in a temporary directory.",
  )
  .option("--seconds <n>", "measured seconds a run", whole, 5)
  .option("--rounds <n>", "how often every scenario has its turn", whole, 3)
  .option(
    "--only <targets>",
    `only these: ${[...TARGETS.slice(1), ...BILLING_SCENARIOS, ...STREAM_SCENARIOS].join(",")}`,
    targetNames,
  )
  .option("--quick", "one round of one second: shows that it works, measures little")
  .option("--profile <dir>", "leave CPU profiles of the servers there; slows them down")
  .option("--json", "print one JSON object")
  .addHelpText(
    "after",
    "\nWhat it means is told in bench/README.md. Exit codes: 0 measured, 1 something failed or records were lost.",
  )
  .action(run);

try {
  await command.parseAsync();
} catch (cause) {
  process.stderr.write(`bench: ${cause instanceof Error ? cause.message : String(cause)}\n`);
  process.exitCode = 1;
}
