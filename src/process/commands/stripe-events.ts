// `metering stripe events`: webhook events that could not be applied yet, and what is done about those that were given up.
import { Command } from "commander";
import { type ListedStripeEvent, listStripeEvents, reviveStripeEvents } from "../../postgres/stripe-event-desk.ts";
import { withDatabase } from "../command-database.ts";
import type { LazyCommand } from "../lazy-commands.ts";

const SETTINGS = `
Settings: DATABASE_URL; without it, the database of the "metering dev" that runs on METERING_DATA_DIR.`;
const LIST_MAX = 1_000;

export const subcommands: readonly LazyCommand[] = [
  { name: "list", summary: "list those not applied yet", load: async () => ({ buildCommand: listCommand }) },
  { name: "retry", summary: "apply those that were given up", load: async () => ({ buildCommand: retryCommand }) },
];

export function buildCommand(): Command {
  return new Command("events")
    .description("Shows webhook events that could not be applied, and has those that were given up applied after all.")
    .usage("<command> [options]")
    .helpCommand(false);
}

function listCommand(): Command {
  return new Command("list")
    .description(`Lists webhook events that were not applied, oldest first, at most ${LIST_MAX}, with the last error.`)
    .option("--dead", "only those that were given up")
    .option("--json", "print one JSON array")
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 listed, 1 the database cannot be read, 2 bad usage.\nExample: metering stripe events list --dead`,
    )
    .action((options: { dead?: true; json?: true }) =>
      withDatabase("stripe events", async ({ pool }) => {
        const events = await listStripeEvents(pool, options.dead === true, LIST_MAX);
        const text = events.length === 0 ? "none\n" : events.map(describe).join("");
        process.stdout.write(options.json ? `${JSON.stringify(events)}\n` : text);
      }),
    );
}

function describe({ eventId, type, objectId, state, attempts, lastError, nextAttemptAt }: ListedStripeEvent): string {
  const fate = state === "dead" ? "GIVEN UP" : `next try ${nextAttemptAt.toISOString()}`;
  const why = lastError === "" ? "" : `    ${lastError}\n`;
  return `${eventId}  ${type} ${objectId}: ${fate}, ${attempts} attempts\n${why}`;
}

function retryCommand(): Command {
  const command = new Command("retry");
  return command
    .description(
      "Has events that were given up applied after all, by the running service. Mend the cause first. Any order and any number of times is fine.",
    )
    .argument("[event-ids...]")
    .option("--all", "all that were given up")
    .option("--json", 'print one JSON object: {"retried":[..],"left":[..]}')
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 all will be applied, 1 some were not given up, 2 bad usage.\nExample: metering stripe events retry --all`,
    )
    .action((eventIds: string[], options: { all?: true; json?: true }) => {
      if ((eventIds.length === 0) === (options.all === undefined)) command.error("error: name events, or give --all");
      return withDatabase("stripe events", async ({ pool }) => {
        const retried = await reviveStripeEvents(pool, options.all ? undefined : eventIds);
        const left = eventIds.filter((eventId) => !retried.includes(eventId));
        if (left.length > 0) process.exitCode = 1;
        const lines = left.map((eventId) => `${eventId} was not given up, or is not known: nothing was done\n`);
        const text = `${retried.length} events are tried again.\n${lines.join("")}`;
        process.stdout.write(options.json ? `${JSON.stringify({ retried, left })}\n` : text);
      });
    });
}
