#!/usr/bin/env node
// The command line. Each command is loaded only when it is asked for.
import { Command, CommanderError } from "commander";
import { addCommands, type LazyCommand } from "./lazy-commands.ts";
import { describeFailure } from "./operator-error.ts";

const COMMANDS: readonly LazyCommand[] = [
  { name: "dev", summary: "run everything here, with what it needs", load: () => import("./commands/dev.ts") },
  { name: "serve", summary: "run the service, or some of its roles", load: () => import("./commands/serve.ts") },
  { name: "migrate", summary: "bring the database to this version", load: () => import("./commands/migrate.ts") },
  {
    name: "check-config",
    summary: "check and explain the configuration",
    load: () => import("./commands/check-config.ts"),
  },
  { name: "status", summary: "show where the usage and the money are", load: () => import("./commands/status.ts") },
  { name: "flush", summary: "report to Stripe now", load: () => import("./commands/flush.ts") },
  {
    name: "reports",
    summary: "list, show, retry and hold reports to Stripe",
    load: () => import("./commands/reports.ts"),
  },
  {
    name: "customers",
    summary: "list customers, and map them to Stripe's",
    load: () => import("./commands/customers.ts"),
  },
  { name: "keys", summary: "API keys and their limits", load: () => import("./commands/keys.ts") },
  { name: "tokens", summary: "credentials of callers", load: () => import("./commands/tokens.ts") },
  { name: "stripe", summary: "look at Stripe, and set it right", load: () => import("./commands/stripe.ts") },
  { name: "void", summary: "take records back", load: () => import("./commands/void.ts") },
  { name: "verify", summary: "compare all sums with raw records", load: () => import("./commands/verify.ts") },
  { name: "rebuild", summary: "make sums anew of raw records", load: () => import("./commands/rebuild.ts") },
  { name: "replay", summary: "record a trace and compare the sums", load: () => import("./commands/replay.ts") },
  {
    name: "stripe-simulator",
    summary: "run a simulated Stripe",
    load: () => import("./commands/stripe-simulator.ts"),
  },
];

const EXIT_USAGE = 2;

/** Runs one command line; resolves to the exit code. A command sets process.exitCode when it ends with another than 0. */
async function main(args: readonly string[]): Promise<number> {
  const program = new Command("metering")
    .description("Exactly-once usage metering for LLM products, reported to Stripe.")
    .usage("<command> [options]")
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `metering: ${text
            .trim()
            .replace(/^error: /, "")
            .replaceAll("\n", " ")}\n`,
        ),
    })
    .addHelpText("after", '\nSettings come from the environment: "metering check-config --help" lists them.');
  await addCommands(program, COMMANDS, args);
  try {
    await program.parseAsync(args, { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (cause) {
    if (cause instanceof CommanderError) return cause.exitCode === 0 ? 0 : EXIT_USAGE;
    for (const line of describeFailure(cause).split("\n")) process.stderr.write(`metering: ${line}\n`);
    return cause instanceof Error && cause.name === "ConfigError" ? EXIT_USAGE : 1;
  }
}

// Whoever read the output has gone, for example `head`: no reason to fall over, least of all for a service.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EPIPE") throw cause;
  });

process.exit(await main(process.argv.slice(2)));
