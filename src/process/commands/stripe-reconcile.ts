// `metering stripe reconcile`: what Stripe counted, against what the ledger believes that it counted.
import { randomUUID } from "node:crypto";
import { Command, InvalidArgumentError, Option } from "commander";
import { applyTo, lookAtRange } from "../../app/reconcile-now.ts";
import { TokenBucket } from "../../app/token-bucket.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import { prunedBefore } from "../../postgres/prune.ts";
import { postgresReconcileRequests } from "../../postgres/reconcile-requests.ts";
import { readsPerSecondMax } from "../../stripe/rate-limits.ts";
import { type CommandDatabase, withDatabase } from "../command-database.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import { type Config, isSandbox } from "../config/parse-config.ts";
import { SETTINGS } from "../config/settings.ts";
import { createFlush, FLUSH_LEASE, openStripeOf } from "../flush-role.ts";
import { createLogger, secretsOf } from "../logger.ts";
import { createMetrics } from "../metrics.ts";
import { OperatorError } from "../operator-error.ts";
import { describeOutcome, type Outcome, outcomeJson } from "../reconcile-report.ts";
import { createReconcile } from "../reconcile-role.ts";
import { SYSTEM_CLOCK } from "../system-clock.ts";

interface Options {
  readonly customer?: string;
  readonly from?: number;
  readonly to?: number;
  readonly apply?: true;
  readonly writeOff?: true;
  readonly json?: true;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const EXIT_INTERRUPTED = 130;

export function buildCommand(): Command {
  return new Command("reconcile")
    .description(
      "Compares, hour by hour, what Stripe counted with what the ledger believes that it counted; also hours in which nothing was reported. " +
        "The leader compares by itself all that it reports; this is for a look of one's own, and for what it leaves to a person.",
    )
    .option("--customer <id>", "only this customer, by the service's id or Stripe's")
    .option(
      "--from <time>",
      "first hour or day, UTC: 2026-10-01 or 2026-10-01T13:00Z; default: 7 days before --to",
      timeOf,
    )
    .option("--to <time>", "end, not included; default: the last midnight, or with --from the last full hour", timeOf)
    .option("--apply", "repair what can be repaired, foreign and large differences included")
    .addOption(
      new Option(
        "--write-off",
        "give up what differs, but for what Stripe may only be late with: it is booked, and nothing is sent; for what was settled by hand. Needs --customer",
      ).conflicts("apply"),
    )
    .option("--json", "print one JSON object; quantities are decimal strings")
    .addHelpText(
      "after",
      `
Without --apply or --write-off it only reads, beside a running service or without one. With them the leader is asked, or the command leads for that long.
Settings: DATABASE_URL, STRIPE_SECRET_KEY; without DATABASE_URL, those of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 the sums agree, or were made to, 1 they differ, or could not be read, 2 the command line or the configuration is wrong, 130 interrupted.
Example: metering stripe reconcile --customer cus_123 --from 2026-10-01 --json | jq .drifts`,
    )
    .action(async (options: Options, command: Command) => {
      const range = rangeOf(options, SYSTEM_CLOCK.nowMs());
      if (range === undefined) command.error("error: --from must be before --to, and both in the past");
      if (options.writeOff && options.customer === undefined) command.error("error: --write-off needs --customer");
      const interrupted = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
      const work = (database: CommandDatabase) => reconcile(database, options, range, interrupted.signal);
      const outcome = await withDatabase("stripe reconcile", work, ["stripeSecretKey"]).catch((cause: unknown) => {
        if (interrupted.signal.aborted) return undefined;
        throw stripeFailure(cause) ?? cause;
      });
      showProgress(undefined);
      if (outcome === undefined) {
        process.exitCode = EXIT_INTERRUPTED;
        process.stderr.write("metering: interrupted; the leader goes on with what was asked of it\n");
        return;
      }
      process.stdout.write(options.json ? `${JSON.stringify(outcomeJson(outcome))}\n` : describeOutcome(outcome));
      if (outcome.found.drifts.length > 0) process.exitCode = 1;
    });
}

/** Undefined when it was interrupted. */
async function reconcile(
  { config, pool }: CommandDatabase,
  options: Options,
  range: { readonly startMs: number; readonly endMs: number },
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const keptFromMs = prunedBefore(SYSTEM_CLOCK.nowMs(), config.reportRetentionMs);
  // Against what is left of them, all that Stripe counted would be somebody else's.
  if (range.startMs < keptFromMs)
    throw new OperatorError(
      `reports from before ${new Date(keptFromMs).toISOString().slice(0, 10)} are not kept (${SETTINGS.reportRetentionMs.env}), so Stripe's sums of that time cannot be compared; give a later --from`,
    );
  // What it finds it prints; what goes wrong while it leads is another matter.
  const logger = createLogger("error", secretsOf(config), process.stderr);
  const deployment = await readDeployment(pool);
  const processId = `${process.pid}-${randomUUID().slice(0, 8)}`;
  const foundation = { config, pool, deployment, processId, logger, metrics: createMetrics() };
  const parts = createReconcile(foundation, openStripeOf(config), FLUSH_LEASE);
  const requests = postgresReconcileRequests(pool);
  const look = {
    ...parts,
    requests,
    rate: new TokenBucket(readsPerSecondMax(!isSandbox(config)), SYSTEM_CLOCK),
    policy: { lagMs: config.reconcileLagMs, repairLimit: BigInt(config.repairLimit) },
    range,
    customerId: options.customer,
    eventNames: options.customer === undefined ? [] : eventNamesOf(config),
    onProgress: (meters: number) => showProgress(`${meters} customers' meters compared`),
  };
  const found = await lookAtRange(look, signal);
  // Most likely mistyped: that there are no sums is not that they agree.
  if (options.customer !== undefined && found.spans + found.waiting === 0 && found.incomparable.length > 0) {
    const ids = new Set(found.incomparable.map(({ stripeCustomerId }) => stripeCustomerId));
    throw new OperatorError(
      `Stripe's sums cannot be read: it has no meter for them, or no customer ${[...ids].join(", ")}`,
    );
  }
  const apply = options.writeOff ? "write_off" : options.apply ? "repair" : undefined;
  if (apply === undefined || found.drifts.length === 0) return { range, found, apply, booked: [] };
  const { holder } = createFlush(foundation);
  const onProgress = (hours: number) => showProgress(`${hours} hours to go`);
  const on = { requests, holder, reconcile: parts.reconcile, onProgress };
  const booked = await applyTo(found.drifts, apply, on, signal);
  if (booked === undefined) return undefined;
  return { range, found: await lookAtRange(look, signal), apply, booked };
}

function eventNamesOf(config: Config): string[] {
  return [...new Set(readMeterCatalog(config.catalogFile).billing.map(({ eventName }) => eventName))];
}

/** A day or an hour, UTC, in milliseconds. */
function timeOf(text: string): number {
  const isTime = /^\d{4}-\d{2}-\d{2}(T\d{2}:00(:00)?Z)?$/.test(text);
  const timeMs = isTime ? Date.parse(text.length === 10 ? `${text}T00:00Z` : text) : Number.NaN;
  if (Number.isNaN(timeMs))
    throw new InvalidArgumentError("It must be a day or a full hour, UTC: 2026-10-01 or 2026-10-01T13:00Z.");
  return timeMs;
}

/** The hours asked for that are over; undefined when there are none. */
function rangeOf(
  { from, to }: Options,
  nowMs: number,
): { readonly startMs: number; readonly endMs: number } | undefined {
  const thisHourMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS;
  const midnightMs = Math.floor(nowMs / DAY_MS) * DAY_MS;
  const endMs = Math.min(to ?? (from === undefined ? midnightMs : thisHourMs), thisHourMs);
  const startMs = from ?? endMs - 7 * DAY_MS;
  return startMs < endMs ? { startMs, endMs } : undefined;
}

/** What Stripe's client says, as an operator's matter. */
function stripeFailure(cause: unknown): OperatorError | undefined {
  if (!(cause instanceof Error) || !("type" in cause) || !String(cause.type).startsWith("Stripe")) return undefined;
  return new OperatorError(`Stripe's sums cannot be read: ${cause.message}`);
}

/** On a terminal only. */
function showProgress(line: string | undefined): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${line ?? ""}`);
}
