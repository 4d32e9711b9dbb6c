// `metering verify`: are all sums what the raw records add up to?
import { Command } from "commander";
import { customerDays } from "../../app/audit.ts";
import {
  addScope,
  dayName,
  describeDifference,
  differenceJson,
  type ScopeOptions,
  scopeOf,
  withAudit,
} from "../audit-scope.ts";
import { OpenProgress } from "../progress.ts";
import { forEachConcurrently } from "../replay/concurrently.ts";

/** Days at a time: the database has work while this process adds up. */
const CONCURRENCY = 3;
const EXIT_DIFFERENCES = 1;
const EXIT_INTERRUPTED = 130;

export function buildCommand(): Command {
  return addScope(new Command("verify"))
    .description(
      "Adds up raw records anew, each by the billing rules under which it was applied, voided ones left out, and names every sum that differs: " +
        "series, quarter-hours, days, and the totals of windows that wait for Stripe. Of every window, compares what it says was reported and " +
        "accepted with its reports. Reads only, beside a running service, and nobody waits for it.",
    )
    .option(
      "--json",
      "print one JSON object for each difference, and one for the whole, each on a line; quantities are strings",
    )
    .addHelpText(
      "after",
      `
Each day of a customer is compared as of one instant. Days whose raw records were dropped (METERING_RETENTION) cannot be added up anew: they are
counted as not verified, and only their reports are compared.
Settings: DATABASE_URL, METERING_CONFIG; without DATABASE_URL, those of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 nothing differs, 1 something does, or it could not be read, 2 the command line or the configuration is wrong, 130 interrupted.
Example: metering verify --from 2026-10-01 --to 2026-11-01 --json | jq .`,
    )
    .action(async (options: ScopeOptions & { readonly json?: true }, command: Command) => {
      const scope = scopeOf(options);
      if (scope === undefined) command.error("error: --from must be before --to");
      const interrupted = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
      await withAudit("verify", async (ledger) => {
        const progress = new OpenProgress(process.stderr);
        const counts = { customers: 0, days: 0, unverifiedDays: 0, differences: 0 };
        await forEachConcurrently(
          customerDays(ledger, scope, interrupted.signal),
          CONCURRENCY,
          async ({ customerId, dayMs, customers }) => {
            const { verified, differences } = await ledger.verify(customerId, dayMs);
            counts.customers = Math.max(counts.customers, customers);
            counts.days += 1;
            if (!verified) counts.unverifiedDays += 1;
            counts.differences += differences.length;
            progress.show(
              `verified ${counts.days} days of ${counts.customers} customers: ${customerId} ${dayName(dayMs)}`,
            );
            if (differences.length > 0) progress.end();
            for (const difference of differences)
              process.stdout.write(
                options.json
                  ? `${JSON.stringify(differenceJson(customerId, difference))}\n`
                  : describeDifference(customerId, difference),
              );
          },
        );
        progress.end();
        const { customers, days, unverifiedDays, differences } = counts;
        if (options.json)
          process.stdout.write(`${JSON.stringify({ ...counts, interrupted: interrupted.signal.aborted })}\n`);
        else
          process.stdout.write(
            `${days} days of ${customers} customers: ${differences === 0 ? "nothing differs" : `${differences} DIFFERENCES`}; ` +
              `${unverifiedDays} days not verified, since their raw records are not kept.\n`,
          );
        if (differences > 0) process.exitCode = EXIT_DIFFERENCES;
        if (interrupted.signal.aborted) process.exitCode = EXIT_INTERRUPTED;
      });
    });
}
