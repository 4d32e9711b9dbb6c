// `metering stripe`: what is done at Stripe by hand, or looked at there.
import { Command } from "commander";
import type { LazyCommand } from "../lazy-commands.ts";

/** Each in a file of its own, `stripe-<name>.ts`. */
export const subcommands: readonly LazyCommand[] = [];

export function buildCommand(): Command {
  return new Command("stripe")
    .description("What is done at Stripe by hand, or looked at there.")
    .usage("<command> [options]")
    .helpCommand(false);
}
