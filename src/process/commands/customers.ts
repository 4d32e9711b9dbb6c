// `metering customers`: whose usage waits, and which Stripe customer pays for it.
import { Command, InvalidArgumentError } from "commander";
import type { MappingChange } from "../../app/ports/accounts.ts";
import { customerIdProblem } from "../../domain/customer-claim.ts";
import { type ListedCustomer, listCustomers, mapCustomer } from "../../postgres/customer-mappings.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import { readCustomer } from "../../stripe/customers.ts";
import { type CommandDatabase, withDatabase } from "../command-database.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import type { Config } from "../config/parse-config.ts";
import { openStripeOf } from "../flush-role.ts";
import type { LazyCommand } from "../lazy-commands.ts";
import { OperatorError } from "../operator-error.ts";

const SETTINGS = `
Settings: DATABASE_URL; without it, the database of the "metering dev" that runs on METERING_DATA_DIR.`;

const LIST_MAX = 10_000;
const CHECK_TIMEOUT_MS = 30_000;

export const subcommands: readonly LazyCommand[] = [
  {
    name: "list",
    summary: "list customers and the usage that waits",
    load: async () => ({ buildCommand: listCommand }),
  },
  { name: "map", summary: "say which Stripe customer pays", load: async () => ({ buildCommand: mapCommand }) },
];

export function buildCommand(): Command {
  return new Command("customers")
    .description("Shows customers and the usage that waits for a Stripe customer, and maps the two.")
    .usage("<command> [options]")
    .helpCommand(false);
}

interface ListOptions {
  readonly unmapped?: true;
  readonly limit: number;
  readonly json?: true;
}

function listCommand(): Command {
  return new Command("list")
    .description(
      "Lists customers that are mapped or have usage which no report has frozen yet, those first whose usage has waited longest. " +
        "Stripe takes usage for 35 days: what waits longer can only be billed as of a later day.",
    )
    .option("--unmapped", "only those whose usage waits for a Stripe customer")
    .option("--limit <n>", `at most so many, up to ${LIST_MAX}`, parseLimit, 100)
    .option("--json", "print one JSON array")
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 listed, 1 the database cannot be read, 2 bad usage.\nExample: metering customers list --unmapped`,
    )
    .action((options: ListOptions) =>
      withDatabase("customers", async ({ pool }) => {
        const { limit } = options;
        const customers = await listCustomers(pool, { unmappedOnly: options.unmapped === true, limit });
        process.stdout.write(options.json ? `${JSON.stringify(customers)}\n` : describeCustomers(customers, limit));
      }),
    );
}

interface MapOptions {
  readonly replace?: true;
  readonly check?: true;
  readonly json?: true;
}

function mapCommand(): Command {
  return new Command("map")
    .description(
      "Has a Stripe customer pay for a customer's usage, what waited included. An operator's mapping stands against the metadata of " +
        "Stripe customers. With --replace in place of another mapping: reports that were frozen stay with the old Stripe customer, " +
        "what is frozen from now on goes to the new one.",
    )
    .argument("<customer-id>", "as your backends send it", parseCustomerId)
    .argument("<stripe-customer-id>", "cus_...", parseStripeCustomerId)
    .option("--replace", "even where either is mapped otherwise")
    .option("--check", "ask Stripe first whether it has this customer")
    .option("--json", 'print one JSON object: {"customerId":..,"stripeCustomerId":..,"result":..,"replaced":[..]}')
    .addHelpText(
      "after",
      `${SETTINGS} METERING_CONFIG; STRIPE_SECRET_KEY with --check.\nExit codes: 0 it is mapped, 1 one of the two is mapped otherwise, or unknown to Stripe, 2 bad usage.\nExample: metering customers map acme cus_123 --check`,
    )
    .action((customerId: string, stripeCustomerId: string, options: MapOptions) =>
      withDatabase(
        "customers",
        (database) => map(database, customerId, stripeCustomerId, options),
        options.check ? ["stripeSecretKey"] : [],
      ),
    );
}

async function map(
  { config, pool, logger }: CommandDatabase,
  customerId: string,
  stripeCustomerId: string,
  options: MapOptions,
): Promise<void> {
  if (options.check) await requireAtStripe(config, stripeCustomerId);
  const { shardCount } = await readDeployment(pool);
  const context = { catalog: readMeterCatalog(config.catalogFile), shardCount, logger };
  const result = await mapCustomer(pool, context, customerId, stripeCustomerId, options.replace === true);
  if (result.kind === "taken") {
    const others = result.by.map((by) => `${by.customerId} is mapped to ${by.stripeCustomerId} (by ${by.source})`);
    const displaced = result.by.filter((by) => by.customerId !== customerId).map((by) => by.customerId);
    const waits = displaced.length === 0 ? "" : `, that of ${displaced.join(", ")} waits to be mapped again`;
    throw new OperatorError(
      `${others.join(", and ")}: nothing was done. With --replace usage of ${customerId} goes to ${stripeCustomerId} from now on${waits}; what was frozen in reports stays where it is`,
    );
  }
  const replaced = result.kind === "mapped" ? result.replaced : [];
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ customerId, stripeCustomerId, result: result.kind, replaced })}\n`);
    return;
  }
  const lines = [
    result.kind === "unchanged"
      ? `${customerId} is mapped to ${stripeCustomerId}, as it was.`
      : `${customerId} is mapped to ${stripeCustomerId}: usage that waited goes with the next flush.`,
    ...replaced.map(describeChange),
  ];
  if (replaced.some(({ from }) => from !== undefined))
    lines.push("Reports that were frozen before stay with the Stripe customer that they name.");
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function requireAtStripe(config: Config, stripeCustomerId: string): Promise<void> {
  const found = await readCustomer(openStripeOf(config), stripeCustomerId, AbortSignal.timeout(CHECK_TIMEOUT_MS));
  if (found === undefined) throw new OperatorError(`Stripe has no customer ${stripeCustomerId}: nothing was done`);
  if (found.deleted)
    throw new OperatorError(`${stripeCustomerId} is deleted at Stripe, which refuses its usage: nothing was done`);
}

function describeChange({ customerId, from, to }: MappingChange): string {
  if (to === undefined) return `${customerId} is not mapped to ${from} any more: its usage waits.`;
  return from === undefined ? `${customerId} is now mapped to ${to}.` : `${customerId} was mapped to ${from} before.`;
}

function describeCustomers(customers: readonly ListedCustomer[], limit: number): string {
  if (customers.length === 0) return "none\n";
  const more = customers.length === limit ? "... and maybe more: --limit\n" : "";
  return customers.map(describeCustomer).join("") + more;
}

function describeCustomer(customer: ListedCustomer): string {
  const { customerId, stripeCustomerId, source, waiting, oldestWindowStart, billableUntil, alsoClaimedBy } = customer;
  const mapping = stripeCustomerId === null ? "UNMAPPED" : source === null ? "" : `${stripeCustomerId}, by ${source}`;
  const lines = [`${customerId}  ${mapping}`.trimEnd()];
  if (oldestWindowStart !== null && billableUntil !== null) {
    const quantities = waiting.map(({ eventName, quantity }) => `${quantity} ${eventName}`);
    lines.push(
      `    waits: ${quantities.join(", ")}; since ${iso(oldestWindowStart)}, Stripe takes it until ${iso(billableUntil)}`,
    );
  }
  if (alsoClaimedBy.length > 0) lines.push(`    the metadata of ${alsoClaimedBy.join(", ")} names it too`);
  return lines.map((line) => `${line}\n`).join("");
}

function iso(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > LIST_MAX) throw new InvalidArgumentError(`1 to ${LIST_MAX}`);
  return limit;
}

function parseCustomerId(text: string): string {
  const problem = customerIdProblem(text);
  if (problem !== undefined) throw new InvalidArgumentError(problem);
  return text;
}

function parseStripeCustomerId(text: string): string {
  if (!/^cus_[A-Za-z0-9_]{1,251}$/.test(text)) throw new InvalidArgumentError("a Stripe customer is cus_...");
  return text;
}
