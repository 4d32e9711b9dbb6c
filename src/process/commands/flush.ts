// `metering flush`: everything recorded so far goes to Stripe now.
import { randomUUID } from "node:crypto";
import { Command } from "commander";
import { flushNow } from "../../app/flush-now.ts";
import type { Backlog } from "../../app/ports/reports.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import { knownCustomer } from "../../postgres/known-customer.ts";
import type { Pool } from "../../postgres/pool.ts";
import { type CommandDatabase, withDatabase } from "../command-database.ts";
import { createFlush } from "../flush-role.ts";
import { createMetrics } from "../metrics.ts";
import { OperatorError } from "../operator-error.ts";

interface Options {
  readonly customer?: string;
  readonly json?: true;
}

export function buildCommand(): Command {
  return new Command("flush")
    .description(
      "Asks the leader to report everything that the ledger holds, open minutes included, and waits until it was sent once. " +
        "Leads itself for that long where no service runs. Reports that are to be tried again, or are held, are not waited for.",
    )
    .option("--customer <id>", "only this customer")
    .option(
      "--json",
      'print one JSON object: {"openReports":..,"otherSinkReports":..,"heldReports":..,"unmappedWindows":..}',
    )
    .addHelpText(
      "after",
      `
Settings: DATABASE_URL, STRIPE_SECRET_KEY; without DATABASE_URL, those of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 all was sent once, 1 it could not be done, 2 the configuration is wrong, 130 interrupted.
Example: metering flush --customer cus_123`,
    )
    .action((options: Options) => withDatabase("flush", (database) => flush(database, options), ["stripeSecretKey"]));
}

async function flush({ config, pool, logger }: CommandDatabase, options: Options): Promise<void> {
  const deployment = await readDeployment(pool);
  if (options.customer !== undefined) await refuseUnknown(pool, options.customer);
  const processId = `${process.pid}-${randomUUID().slice(0, 8)}`;
  const parts = createFlush({ config, pool, deployment, processId, logger, metrics: createMetrics() });
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
  const onProgress = (backlog: { openReports: number }) => showProgress(backlog.openReports);
  const done = await flushNow({ ...parts, customerId: options.customer, onProgress }, interrupted.signal);
  showProgress(undefined);
  if (!done) {
    process.exitCode = 130;
    throw new OperatorError("interrupted; the leader goes on with what was asked");
  }
  const { lagMs: _, ...left } = await parts.reports.backlog();
  process.stdout.write(options.json ? `${JSON.stringify(left)}\n` : describe(options.customer, left));
}

/** A mistyped customer would else be told that everything of it was sent. */
async function refuseUnknown(pool: Pool, customerId: string): Promise<void> {
  const { known, paidFor } = await knownCustomer(pool, customerId);
  if (known) return;
  const hint =
    paidFor === undefined
      ? "nothing of it was ever recorded, or all of it still waits in Redis"
      : `it pays for ${paidFor}: ask for --customer ${paidFor}`;
  throw new OperatorError(`the ledger knows no customer ${customerId}: ${hint}`);
}

/** On a terminal only. */
function showProgress(openReports: number | undefined): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(openReports === undefined ? "\r\u001b[K" : `\r\u001b[K${openReports} reports under way`);
}

/** The counts are those of all customers. */
function describe(customerId: string | undefined, left: Omit<Backlog, "lagMs">): string {
  const whose = customerId === undefined ? "Everything" : `Everything of ${customerId}`;
  const lines = [`${whose} that the ledger holds for a known Stripe customer was sent once.`];
  const triedAgain = left.openReports - left.otherSinkReports;
  if (triedAgain > 0) lines.push(`Of all customers: ${triedAgain} reports will be tried again.`);
  if (left.otherSinkReports > 0)
    lines.push(`Of all customers: ${left.otherSinkReports} reports wait until STRIPE_SINK is again what it was.`);
  if (left.heldReports > 0)
    lines.push(`Of all customers: ${left.heldReports} reports are held: see "metering status".`);
  if (left.unmappedWindows > 0)
    lines.push(`Of all customers: ${left.unmappedWindows} windows wait for a Stripe customer.`);
  return `${lines.join("\n")}\n`;
}
