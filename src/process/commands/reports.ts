// `metering reports`: what is on its way to Stripe, what is held and why, and what an operator does about it.
import { Command, InvalidArgumentError } from "commander";
import type { PlannedReport } from "../../domain/report.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import type { Pool } from "../../postgres/pool.ts";
import {
  findHeld,
  holdPlanned,
  listReports,
  type ReportFilter,
  retryHeld,
  SHOWN_STATES,
  showReport,
  writeOff,
} from "../../postgres/report-desk.ts";
import { withDatabase } from "../command-database.ts";
import type { LazyCommand } from "../lazy-commands.ts";
import { OperatorError } from "../operator-error.ts";
import { describeReports } from "../report-table.ts";

const SETTINGS = `
Settings: DATABASE_URL; without it, the database of the "metering dev" that runs on METERING_DATA_DIR.`;

/** Reports retried in one transaction. */
const RETRY_BATCH = 500;
const LIST_MAX = 10_000;

export const subcommands: readonly LazyCommand[] = [
  { name: "list", summary: "list reports, held ones first of all", load: async () => ({ buildCommand: listCommand }) },
  { name: "show", summary: "show one and what explains it", load: async () => ({ buildCommand: showCommand }) },
  { name: "retry", summary: "send held ones again", load: async () => ({ buildCommand: retryCommand }) },
  { name: "hold", summary: "hold what was not sent yet", load: async () => ({ buildCommand: holdCommand }) },
  { name: "write-off", summary: "give held ones up", load: async () => ({ buildCommand: writeOffCommand }) },
];

export function buildCommand(): Command {
  return new Command("reports")
    .description("Shows reports to Stripe, retries held ones or gives them up, holds those that were not sent yet.")
    .usage("<command> [options]")
    .helpCommand(false);
}

interface ListOptions {
  readonly state: NonNullable<ReportFilter["states"]>;
  readonly reason?: string;
  readonly customer?: string;
  readonly late?: true;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}

function listCommand(): Command {
  return new Command("list")
    .description("Lists reports, newest first: held ones, unless told otherwise.")
    .option("--state <states>", `comma-separated: ${SHOWN_STATES.join(", ")}; or all`, parseStates, ["held"])
    .option("--reason <reason>", "only those held, or waiting, for this reason")
    .option("--customer <id>", "only this customer's")
    .option("--late", "only usage that missed its own billing period: where it landed, or that it is held; all states")
    .option("--limit <n>", `at most so many, up to ${LIST_MAX}`, parseLimit, 100)
    .option("--after <identifier>", "go on after this report")
    .option("--json", "print one JSON array")
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 listed, 1 the database cannot be read, 2 bad usage.\nExample: metering reports list --reason no_such_customer`,
    )
    .action((options: ListOptions) =>
      withDatabase("reports", async ({ pool }) => {
        const states = options.late ? undefined : options.state;
        const { reason, customer: customerId, limit, after } = options;
        const filter = { states, reason, customerId, lateOnly: options.late === true, limit, after };
        const reports = await listReports(pool, filter);
        process.stdout.write(options.json ? `${JSON.stringify(reports)}\n` : describeReports(reports, limit));
      }),
    );
}

function showCommand(): Command {
  return new Command("show")
    .description(
      "Shows one report: what it says, its window, what it replaces, Stripe's error reports, the records behind it. JSON.",
    )
    .argument("<identifier>")
    .option("--json", "print it on one line, instead of for people")
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 shown, 1 there is no such report, 2 bad usage.\nExample: metering reports show u-1700000000-0-0f...`,
    )
    .action((identifier: string, { json }: { json?: true }) =>
      withDatabase("reports", async ({ pool }) => {
        const shown = await showReport(pool, identifier);
        if (shown === undefined) throw new OperatorError(`there is no report ${identifier}`);
        process.stdout.write(`${JSON.stringify(shown, undefined, json ? undefined : 2)}\n`);
      }),
    );
}

interface RetryOptions {
  readonly reason?: string;
  readonly customer?: string;
  readonly json?: true;
}

function retryCommand(): Command {
  return new Command("retry")
    .description(
      "Sends held reports again, each under an identifier of its own that is recorded with it. Mend the cause first. " +
        "Usage whose invoice is final by now goes into the period that is open. Reports of unknown outcome are not retried: " +
        '"metering stripe reconcile" finds out what became of them.',
    )
    .argument("[identifiers...]")
    .option("--reason <reason>", "all that are held for this reason")
    .option("--customer <id>", "of this customer only")
    .option("--json", 'print one JSON object: {"retried":[{"identifier":..,"origin":..,"heldFor":..}],"left":[..]}')
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 all are on their way, 1 some could not be retried, 2 bad usage.\nExample: metering reports retry --reason no_such_customer`,
    )
    .action((identifiers: string[], options: RetryOptions, command: Command) => {
      if (identifiers.length === 0 && options.reason === undefined && options.customer === undefined) {
        command.error("error: name reports, or give --reason or --customer");
      }
      return withDatabase("reports", ({ pool }) => retry(pool, identifiers, options));
    });
}

async function retry(pool: Pool, identifiers: readonly string[], options: RetryOptions): Promise<void> {
  const { deploymentId } = await readDeployment(pool);
  const retried: PlannedReport[] = [];
  if (identifiers.length > 0) retried.push(...(await retryHeld(pool, deploymentId, identifiers)));
  else {
    const filter = { reason: options.reason, customerId: options.customer };
    for (let after = ""; ; ) {
      const found = await findHeld(pool, filter, after, RETRY_BATCH);
      retried.push(...(await retryHeld(pool, deploymentId, found.identifiers)));
      if (found.next === undefined) break;
      after = found.next;
    }
  }
  const left = identifiers.filter((identifier) => !retried.some(({ origin }) => origin === identifier));
  const held = retried.filter(({ heldFor }) => heldFor !== undefined);
  if (left.length > 0 || held.length > 0) process.exitCode = 1;
  if (options.json) {
    const shown = retried.map(({ identifier, origin, heldFor }) => ({ identifier, origin, heldFor }));
    process.stdout.write(`${JSON.stringify({ retried: shown, left })}\n`);
    return;
  }
  process.stdout.write(`${retried.length - held.length} reports are on their way under new identifiers.\n`);
  for (const { identifier, heldFor } of held) process.stdout.write(`${identifier} is held again: ${heldFor}\n`);
  for (const identifier of left)
    process.stdout.write(`${identifier} is not held, or of unknown outcome: nothing was done\n`);
}

function holdCommand(): Command {
  return new Command("hold")
    .description("Holds reports that were planned and never sent; retry sends them.")
    .argument("<identifiers...>")
    .option("--message <text>", "why, for whoever looks at it", "")
    .option("--json", 'print one JSON object: {"held":[..],"left":[..]}')
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 all are held, 1 some were sent already or do not exist, 2 bad usage.\nExample: metering reports hold u-1700000000-0-0f... --message "in dispute"`,
    )
    .action((identifiers: string[], { message, json }: { message: string; json?: true }) =>
      withDatabase("reports", async ({ pool }) => {
        const held = await holdPlanned(pool, identifiers, message);
        const left = identifiers.filter((identifier) => !held.includes(identifier));
        if (left.length > 0) process.exitCode = 1;
        const lines = [
          `${held.length} reports are held.`,
          ...left.map((identifier) => `${identifier} is not waiting to be sent: nothing was done`),
        ];
        process.stdout.write(json ? `${JSON.stringify({ held, left })}\n` : `${lines.join("\n")}\n`);
      }),
    );
}

function writeOffCommand(): Command {
  return new Command("write-off")
    .description(
      "Gives held reports up: what they hold was settled in another way, or is not to be billed. They stay, are listed as written_off, and count " +
        "in no alert; retry by its identifier takes one up again. Reports of unknown outcome are not written off: " +
        '"metering stripe reconcile" finds out what became of them.',
    )
    .argument("<identifiers...>")
    .requiredOption("--message <text>", "why, for whoever looks at it")
    .option("--json", 'print one JSON object: {"writtenOff":[..],"left":[..]}')
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 all are written off, 1 some are not held, or of unknown outcome, 2 bad usage.\nExample: metering reports write-off u-1700000000-0-0f... --message "billed by hand, invoice item ii_123"`,
    )
    .action((identifiers: string[], { message, json }: { message: string; json?: true }) =>
      withDatabase("reports", async ({ pool }) => {
        const writtenOff = await writeOff(pool, identifiers, message);
        const left = identifiers.filter((identifier) => !writtenOff.includes(identifier));
        if (left.length > 0) process.exitCode = 1;
        const lines = [
          `${writtenOff.length} reports are written off.`,
          ...left.map((identifier) => `${identifier} is not held, or of unknown outcome: nothing was done`),
        ];
        process.stdout.write(json ? `${JSON.stringify({ writtenOff, left })}\n` : `${lines.join("\n")}\n`);
      }),
    );
}

/** A state that is misspelled would list nothing, which reads as if nothing were held. */
function parseStates(text: string): ListOptions["state"] {
  if (text === "all") return SHOWN_STATES;
  const states = text.split(",");
  const wrong = states.filter((state) => !SHOWN_STATES.some((known) => known === state));
  if (wrong.length > 0) throw new InvalidArgumentError(`no such state: ${wrong.join(", ")}`);
  return SHOWN_STATES.filter((known) => states.includes(known));
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > LIST_MAX) throw new InvalidArgumentError(`1 to ${LIST_MAX}`);
  return limit;
}
