// `metering void`: records that should not have been sent are taken back.
import { Command } from "commander";
import type { VoidLedger } from "../../app/ports/ledger.ts";
import { VOID_REASON_MAX, type VoidAnswer, voidRecord } from "../../app/void-record.ts";
import { MeteringError } from "../../domain/errors.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import { postgresVoids } from "../../postgres/void.ts";
import { textProblem } from "../../rpc/text-bounds.ts";
import { withDatabase } from "../command-database.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import { OperatorError } from "../operator-error.ts";
import { Progress } from "../progress.ts";
import { forEachConcurrently } from "../replay/concurrently.ts";
import { countKeys, KeyFileError, problemOf, type RecordKey, readKeys, toLine } from "../void/key-file.ts";

interface Options {
  readonly reason: string;
  readonly file?: string;
  readonly json?: true;
}

/** At a time, of a file. More would only wait for each other: records of one shard take turns. */
const CONCURRENCY = 4;
const EXIT_NOT_FOUND = 1;
const EXIT_INTERRUPTED = 130;

export function buildCommand(): Command {
  const command = new Command("void");
  return command
    .argument("[customer-id]", "whose record it is")
    .argument("[idempotency-key]", "the key that it was sent under")
    .description(
      "Takes records back, for good: totals and bills are from then on as if they had never been sent. What Stripe was told of them already " +
        "is taken back by the next flush. The keys stay used: what should have been sent is sent under another one.",
    )
    .requiredOption("--reason <text>", `why, kept with the void; 1 to ${VOID_REASON_MAX} characters`)
    .option("--file <keys.csv>", "many records: customer_id,idempotency_key, one a line")
    .option("--json", "print one JSON object for each record, on a line of its own")
    .addHelpText(
      "after",
      `
Voiding a record again changes nothing, so a file that was not finished can be given once more. A record is not found when it was never
recorded, when it still waits in Redis (try again in a moment), or when it is older than METERING_RETENTION. Those of a file are printed
as lines that are a file again.

Settings: DATABASE_URL, METERING_CONFIG; without DATABASE_URL, those of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 all are void, by now or before; 1 some were not found, or it could not be done; 2 the command line, the file or the
configuration is wrong, and nothing was voided; 130 interrupted.
Example: metering void cus_123 req-42 --reason "sent by a test"`,
    )
    .action(async (customerId: string | undefined, idempotencyKey: string | undefined, options: Options) => {
      const { reason, file } = options;
      const wrong = (message: string): never => command.error(`error: ${message}`);
      const fileIsWrong = (cause: unknown) => {
        if (cause instanceof KeyFileError) wrong(cause.message);
        throw cause;
      };
      const problem = textProblem(reason, 1, VOID_REASON_MAX);
      if (problem !== undefined) wrong(`--reason ${problem}`);
      if (file !== undefined && customerId !== undefined) wrong("give a record or --file, not both");
      const one =
        file === undefined ? { customerId: customerId ?? "", idempotencyKey: idempotencyKey ?? "" } : undefined;
      const keyProblem = one && problemOf(one);
      if (keyProblem !== undefined) wrong(keyProblem);
      const total = file === undefined ? 1 : await countKeys(file).catch(fileIsWrong);
      await withLedger(async (ledger) => {
        const run = new VoidRun(ledger, reason, options.json === true);
        if (one !== undefined) await run.one(one);
        else if (file !== undefined) await run.file(file, total);
      });
    });
}

function withLedger(work: (ledger: VoidLedger) => Promise<void>): Promise<void> {
  return withDatabase("void", async ({ config, pool }) => {
    const { shardCount } = await readDeployment(pool);
    await work(postgresVoids(pool, readMeterCatalog(config.catalogFile), shardCount));
  });
}

/** One run of the command; says how each record ended, and sets the exit code. */
class VoidRun {
  readonly #ledger: VoidLedger;
  readonly #reason: string;
  readonly #json: boolean;
  readonly #counts = { voided: 0, already_voided: 0, not_found: 0 };

  constructor(ledger: VoidLedger, reason: string, json: boolean) {
    this.#ledger = ledger;
    this.#reason = reason;
    this.#json = json;
  }

  async one(key: RecordKey): Promise<void> {
    const answer = await this.#void(key);
    if (this.#json) process.stdout.write(`${toJson(key, answer)}\n`);
    else if (answer instanceof MeteringError) process.stderr.write(`metering: not found: ${answer.message}\n`);
    else process.stdout.write(`${describe(answer)}\n`);
  }

  async file(file: string, total: number): Promise<void> {
    const progress = new Progress("voiding", total, process.stderr);
    const interrupted = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
    let done = 0;
    try {
      await forEachConcurrently(untilAborted(readKeys(file), interrupted.signal), CONCURRENCY, async (key) => {
        const answer = await this.#void(key);
        if (this.#json) process.stdout.write(`${toJson(key, answer)}\n`);
        else if (answer instanceof MeteringError) process.stdout.write(`${toLine(key)}\n`);
        done += 1;
        progress.show(done);
      });
    } finally {
      progress.end();
      const { voided, already_voided: already, not_found: notFound } = this.#counts;
      process.stderr.write(`${voided} voided, ${already} void already, ${notFound} not found, of ${total}\n`);
    }
    if (!interrupted.signal.aborted) return;
    process.exitCode = EXIT_INTERRUPTED;
    process.stderr.write("metering: interrupted; the same command goes on\n");
  }

  /** A record that is not found is an answer too. */
  async #void(key: RecordKey): Promise<VoidAnswer | MeteringError> {
    try {
      const answer = await voidRecord(this.#ledger, { ...key, reason: this.#reason });
      this.#counts[answer.outcome] += 1;
      return answer;
    } catch (cause) {
      if (!(cause instanceof MeteringError)) throw cause;
      if (cause.failure.kind !== "record_not_found")
        throw new OperatorError(`${cause.message}: ${messageOf(cause.cause)}`, { cause });
      this.#counts.not_found += 1;
      process.exitCode = EXIT_NOT_FOUND;
      return cause;
    }
  }
}

async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void> {
  for await (const item of items) {
    if (signal.aborted) return;
    yield item;
  }
}

function describe({ outcome, measurements, eventTimeMs, reason, voidedAtMs }: VoidAnswer): string {
  const quantities = measurements.map(({ meter, quantity }) => `${quantity} ${meter}`).join(", ");
  const what = `${quantities} of ${new Date(eventTimeMs).toISOString()}`;
  if (outcome === "voided") return `Voided: ${what}.`;
  return `Void already, since ${new Date(voidedAtMs).toISOString()} (${reason}): ${what}.`;
}

function toJson(key: RecordKey, answer: VoidAnswer | MeteringError): string {
  if (answer instanceof MeteringError) return JSON.stringify({ outcome: "not_found", ...key });
  const { outcome, eventTimeMs, measurements, reason, voidedAtMs } = answer;
  const voidedMeasurements = Object.fromEntries(measurements.map((m) => [m.meter, m.quantity.toString()]));
  const eventTime = new Date(eventTimeMs).toISOString();
  return JSON.stringify({
    outcome,
    ...key,
    voidedMeasurements,
    eventTime,
    voidTime: new Date(voidedAtMs).toISOString(),
    reason,
  });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
