// `metering rebuild`: sums that differ from their raw records are made anew of them.
import { Command } from "commander";
import { customerDays } from "../../app/audit.ts";
import type { AuditLedger, DayRebuild } from "../../app/ports/audit.ts";
import type { Difference } from "../../domain/audit.ts";
import { addScope, dayName, describeDifference, type ScopeOptions, scopeOf, withAudit } from "../audit-scope.ts";
import { OpenProgress } from "../progress.ts";

/** What only the reports tell of. */
const OUTBOX_COLUMNS: ReadonlySet<string> = new Set(["reported", "accepted", "next_sequence", "reports"]);
const EXIT_LEFT = 1;
const EXIT_INTERRUPTED = 130;

export function buildCommand(): Command {
  return addScope(new Command("rebuild"))
    .description(
      "Makes series, quarter-hours, days, and the totals of windows that wait for Stripe, what their raw records add up to, day by day of each " +
        "customer. What was reported and accepted stays: the next flush sends the difference, negative where too much was sent.",
    )
    .option("--dry-run", "only say what would be rebuilt; nothing is written, and nobody waits")
    .addHelpText(
      "after",
      `
Each day is one transaction, during which records of the customer's shard wait; large days take seconds. It may be interrupted and repeated.
Days whose raw records were dropped (METERING_RETENTION) stay as they are. Raw records are taken for the truth: make sure that they are all
there ("metering verify" beforehand shows what would change) before you rebuild from them.
Settings: DATABASE_URL, METERING_CONFIG; without DATABASE_URL, those of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 the sums are right, or would be, 1 something is left that raw records say nothing of, 2 the command line or the configuration
is wrong, 130 interrupted.
Example: metering rebuild --customer cus_123 --from 2026-10-12 --to 2026-10-13 --dry-run`,
    )
    .action(async (options: ScopeOptions & { readonly dryRun?: true }, command: Command) => {
      const scope = scopeOf(options);
      if (scope === undefined) command.error("error: --from must be before --to");
      const interrupted = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
      await withAudit("rebuild", async (ledger) => {
        const progress = new OpenProgress(process.stderr);
        const counts = { days: 0, unverifiedDays: 0, rebuilt: 0, left: 0 };
        for await (const { customerId, dayMs, customers } of customerDays(ledger, scope, interrupted.signal)) {
          const day = options.dryRun
            ? await wouldRebuild(ledger.verify(customerId, dayMs))
            : await ledger.rebuild(customerId, dayMs);
          counts.days += 1;
          if (!day.verified) counts.unverifiedDays += 1;
          counts.rebuilt += day.rebuilt.length;
          counts.left += day.left.length;
          progress.show(`${counts.days} days of ${customers} customers: ${customerId} ${dayName(dayMs)}`);
          if (day.rebuilt.length + day.left.length > 0) progress.end();
          for (const difference of day.rebuilt) process.stdout.write(describeDifference(customerId, difference));
          for (const difference of day.left)
            process.stdout.write(`NOT REBUILT  ${describeDifference(customerId, difference)}`);
        }
        progress.end();
        const { days, unverifiedDays, rebuilt, left } = counts;
        process.stdout.write(
          `${days} days: ${rebuilt} differences ${options.dryRun ? "would be " : ""}rebuilt, ${left} left; ` +
            `${unverifiedDays} days stay as they are, since their raw records are not kept.\n`,
        );
        if (left > 0) process.exitCode = EXIT_LEFT;
        if (interrupted.signal.aborted) process.exitCode = EXIT_INTERRUPTED;
      });
    });
}

async function wouldRebuild(verifying: ReturnType<AuditLedger["verify"]>): Promise<DayRebuild> {
  const { verified, differences } = await verifying;
  const isRebuilt = (one: Difference) => verified && !OUTBOX_COLUMNS.has(one.column);
  return { verified, rebuilt: differences.filter(isRebuilt), left: differences.filter((one) => !isRebuilt(one)) };
}
