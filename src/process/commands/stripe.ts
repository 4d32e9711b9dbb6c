// `metering stripe`: what is done at Stripe by hand, or looked at there.
import { Command } from "commander";
import type { LazyCommand } from "../lazy-commands.ts";

/** Each in a file of its own, `stripe-<name>.ts`. */
export const subcommands: readonly LazyCommand[] = [
  { name: "setup", summary: "find or make what the configuration needs", load: () => import("./stripe-setup.ts") },
  { name: "events", summary: "webhook events that could not be applied", load: () => import("./stripe-events.ts") },
  {
    name: "reconcile",
    summary: "compare what Stripe counted with the ledger",
    load: () => import("./stripe-reconcile.ts"),
  },
];

export function buildCommand(): Command {
  return new Command("stripe")
    .description("What is done at Stripe by hand, or looked at there.")
    .usage("<command> [options]")
    .helpCommand(false);
}
