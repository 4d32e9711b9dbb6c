// `metering replay`: a real trace through the whole service, and the sums of both ends compared.
import { Command, InvalidArgumentError, Option } from "commander";
import { postgresFlushRequests } from "../../postgres/flush-requests.ts";
import { openPool } from "../../postgres/pool.ts";
import { parseDuration } from "../config/duration.ts";
import { processEnvironment } from "../config/environment.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import { type Config, ConfigError, type Environment, parseConfig } from "../config/parse-config.ts";
import { serviceEnvironment } from "../dev-directory.ts";
import { FLUSH_LEASE, openStripeOf } from "../flush-role.ts";
import { CONNECTION_OPTIONS, type Connection, type ConnectionOptions, openConnection } from "../replay/connection.ts";
import { disagreements, type ReplayOutcome, toJson, toTable } from "../replay/outcome.ts";
import { UnreachableError } from "../replay/patience.ts";
import { type ReplayParts, replay } from "../replay/replay.ts";
import { RefusedRecordError } from "../replay/sender.ts";
import { Teller } from "../replay/teller.ts";
import { surveyTrace, TraceError, type TraceSurvey } from "../replay/trace.ts";
import { checkSpan, INPUT_METER, OUTPUT_METER } from "../replay/workload.ts";
import { SYSTEM_CLOCK } from "../system-clock.ts";

interface Options extends ConnectionOptions {
  readonly customers: number;
  readonly seed: number;
  readonly repeat: number;
  readonly concurrency: number;
  readonly batch?: number;
  readonly rate?: number;
  readonly wait: number;
  readonly json?: true;
}

const EXIT_DIFFERS = 1;
const EXIT_UNREACHABLE = 3;
/** Differences shown; the rest is counted. */
const SHOWN_MAX = 10;

const WAIT = new Option("--wait <duration>", "give up when nothing has moved for so long")
  .argParser(duration)
  .default(180_000, "3m");

export function buildCommand(): Command {
  const command = new Command("replay");
  for (const option of CONNECTION_OPTIONS) command.addOption(option);
  return command
    .description(
      "Records every row of an LLM trace over gRPC, as a backend would: with keys, deadlines and retries. Then reads everything back, from " +
        "the service and from Stripe, and compares. Its last row happens now, the others before it. Rows are spread unevenly over fresh " +
        "customers, which it creates in Stripe: in test mode or a stand-in only.",
    )
    .argument("<trace.csv>", "TIMESTAMP,ContextTokens,GeneratedTokens, as in the Azure LLM inference traces")
    .option("--customers <n>", "customers to spread the rows over, 1..10000", integer(1, 10_000), 50)
    .option("--seed <n>", "another seed, another spread", integer(0, 4_294_967_295), 1)
    .option("--repeat <n>", "send every record so many times, all at once, 1..10", integer(1, 10), 1)
    .option("--rate <n>", "records a second; as fast as the service takes them if not given", integer(1, 1_000_000))
    .option("--concurrency <n>", "calls under way at a time, times --repeat, 1..1000", integer(1, 1000), 64)
    .option("--batch <n>", "records a call, 1..1000; without it RecordUsage one by one", integer(1, 1000))
    .addOption(WAIT)
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Settings: METERING_HOST and GRPC_PORT (or --target), METERING_TOKEN, STRIPE_SECRET_KEY, STRIPE_API_BASE, METERING_CONFIG, and DATABASE_URL,
to ask for a flush; what is not set is taken from the "metering dev" that runs on METERING_DATA_DIR.
The token, of the scopes record and read, is never an argument: those are in every list of processes.
Exit codes: 0 every sum is equal, 1 some sum differs or a record was refused, 2 bad arguments, trace or configuration,
3 the service cannot be reached.
Example: metering replay azure-llm-2023-code.csv --repeat 2 --json`,
    )
    .action(async (file: string, options: Options) => {
      const config = await readConfig(processEnvironment());
      const survey = await checkedSurvey(file, command);
      process.exitCode = await run(file, survey, options, config);
    });
}

/** A running `dev` fills in what is not set; without one, what is set must do. */
async function readConfig(environment: Environment): Promise<Config> {
  let filled = environment;
  try {
    filled = await serviceEnvironment(environment);
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    if (parseConfig(environment).stripeSecretKey === undefined)
      throw new ConfigError([...cause.problems, "STRIPE_SECRET_KEY is not set: set both, or start `metering dev`"]);
  }
  const config = parseConfig(filled, ["stripeSecretKey"]);
  if (/^.k_live_/.test(config.stripeSecretKey ?? ""))
    throw new ConfigError(["STRIPE_SECRET_KEY is a live key: a replay makes customers and usage up; use a test key"]);
  return config;
}

async function checkedSurvey(file: string, command: Command): Promise<TraceSurvey> {
  try {
    const survey = await surveyTrace(file);
    checkSpan(file, survey);
    return survey;
  } catch (cause) {
    if (cause instanceof TraceError) command.error(cause.message);
    throw cause;
  }
}

async function run(file: string, survey: TraceSurvey, options: Options, config: Config): Promise<number> {
  const catalog = readMeterCatalog(config.catalogFile);
  for (const meter of [INPUT_METER, OUTPUT_METER])
    if (!catalog.meters.has(meter))
      throw new ConfigError([`${config.catalogFile} has no meter "${meter}"; traces need it`]);
  const connection: Connection = openConnection(options, config);
  const { clients, targets } = connection;
  const tell = new Teller(process.stderr);
  if (connection.warning !== "") tell.note(connection.warning);
  const { batch, rate, wait, ...rest } = options;
  const how = { ...rest, file, survey, batchSize: batch, recordsPerSecond: rate, standstillMs: wait };
  const parts: ReplayParts = {
    clients,
    stripe: openStripeOf(config),
    sumsAreDelayed: config.stripeApiBase === undefined,
    catalog,
    requestFlush: () => requestFlush(config.databaseUrl),
    clock: SYSTEM_CLOCK,
    tell,
  };
  try {
    await connection.ready();
    return show(await replay(how, parts), options.json === true, tell);
  } catch (cause) {
    if (!(cause instanceof UnreachableError) && !(cause instanceof RefusedRecordError)) throw cause;
    const isAway = cause instanceof UnreachableError;
    tell.note(isAway ? `the service at ${targets.join(", ")} cannot be reached: ${cause.message}` : cause.message);
    return isAway ? EXIT_UNREACHABLE : EXIT_DIFFERS;
  } finally {
    tell.end();
    for (const client of clients) client.close();
  }
}

function show(outcome: ReplayOutcome, asJson: boolean, tell: Teller): number {
  const differences = disagreements(outcome);
  for (const line of differences.slice(0, SHOWN_MAX)) tell.note(line);
  if (differences.length > SHOWN_MAX) tell.note(`and ${differences.length - SHOWN_MAX} more differences`);
  tell.end();
  process.stdout.write(asJson ? `${toJson(outcome)}\n` : toTable(outcome));
  return differences.length === 0 ? 0 : EXIT_DIFFERS;
}

/** As `metering flush` does; false where the database cannot be had, which a backend never needs. */
async function requestFlush(databaseUrl: string | undefined): Promise<boolean> {
  if (databaseUrl === undefined) return false;
  const pool = openPool({
    connectionString: databaseUrl,
    applicationName: "metering replay",
    maxConnections: 1,
    statementTimeoutMs: 10_000,
    onIdleError: () => {},
  });
  try {
    await postgresFlushRequests(pool, FLUSH_LEASE).request(undefined);
    return true;
  } catch {
    // Away for a moment, or out of reach from here: the service flushes at its own pace all the same.
    return false;
  } finally {
    await pool.end();
  }
}

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Must be a whole number, ${min} to ${max}.`);
  };
}

function duration(text: string): number {
  const valueMs = parseDuration(text);
  if (valueMs !== undefined && valueMs >= 1_000) return valueMs;
  throw new InvalidArgumentError("Must be a duration such as 30s or 5m, 1s at least.");
}
