// `metering keys`: API keys and their limits.
import { Command, InvalidArgumentError } from "commander";
import { LIMIT_MAX, ManageKeys } from "../../app/manage-keys.ts";
import type { ApiKey, ApiKeyChange } from "../../app/ports/api-keys.ts";
import { type KeyRef, type LimitPolicy, limitOf, limitPolicyOf, limitStatuses } from "../../domain/limits.ts";
import { postgresApiKeys } from "../../postgres/api-keys.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import { postgresLimitCounters } from "../../postgres/limit-ledger.ts";
import { ID_MAX, textProblem } from "../../rpc/text-bounds.ts";
import { type CommandDatabase, withDatabase } from "../command-database.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import type { LazyCommand } from "../lazy-commands.ts";
import { SYSTEM_CLOCK } from "../system-clock.ts";

const SETTINGS = `
Settings: DATABASE_URL; without it, the database of the "metering dev" that runs on METERING_DATA_DIR. METERING_CONFIG, for its tiers.`;
const LIST_MAX = 10_000;
const NAME_MAX = 128;

export const subcommands: readonly LazyCommand[] = [
  { name: "create", summary: "give a key limits", load: async () => ({ buildCommand: createCommand }) },
  { name: "list", summary: "list keys", load: async () => ({ buildCommand: listCommand }) },
  {
    name: "show",
    summary: "show a key and what is left of its limits",
    load: async () => ({ buildCommand: showCommand }),
  },
  { name: "update", summary: "change a key", load: async () => ({ buildCommand: updateCommand }) },
  { name: "delete", summary: "take a key's limits away", load: async () => ({ buildCommand: deleteCommand }) },
];

export function buildCommand(): Command {
  return new Command("keys")
    .description(
      "Defines API keys and their limits. A key is the id that records name; its secret is no business of the service. Recording is never refused: " +
        "CheckLimits is, where the key's tier says so.",
    )
    .usage("<command> [options]")
    .helpCommand(false);
}

interface Fields {
  readonly name?: string;
  readonly tier?: string;
  readonly perMinute?: bigint | "tier";
  readonly perDay?: bigint | "tier";
  readonly disable?: true;
  readonly enable?: true;
  readonly json?: true;
}

function keyCommand(name: string, description: string, example: string): Command {
  return new Command(name)
    .description(description)
    .argument("<customer-id>", "as your backends send it", parseId)
    .argument("<api-key-id>", "as your backends send it", parseId)
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 done, 1 there is no such key, or it is defined otherwise, or the database cannot be reached, 2 bad usage.\nExample: ${example}`,
    );
}

function createCommand(): Command {
  return keyCommand(
    "create",
    "Gives a key limits. What it used today and in this minute counts already. A repeat with the same fields changes nothing.",
    "metering keys create acme key_1 --tier pro --per-day 5000000",
  )
    .option("--name <text>", "for people", parseName, "")
    .option("--tier <name>", "of the configuration", "")
    .option("--per-minute <tokens>", "tokens per UTC minute, in place of the tier's", parseLimit)
    .option("--per-day <tokens>", "tokens per UTC day, in place of the tier's", parseLimit)
    .option("--disable", "CheckLimits refuses it outright")
    .action((customerId: string, apiKeyId: string, fields: Fields) =>
      withKeys(async ({ keys, show }) => {
        const { name = "", tier = "", disable } = fields;
        const own = (limit: Fields["perDay"]) => (limit === "tier" ? undefined : limit);
        const limits = { tokensPerMinute: own(fields.perMinute), tokensPerDay: own(fields.perDay) };
        const definition = { customerId, apiKeyId, name, tier, ...limits, disabled: disable === true };
        show((await keys.create(definition)).key, fields);
      }),
    );
}

function updateCommand(): Command {
  return keyCommand(
    "update",
    "Changes what is named, and nothing else. What was used stays used.",
    "metering keys update acme key_1 --per-day tier --enable",
  )
    .option("--name <text>", "for people", parseName)
    .option("--tier <name>", 'of the configuration; "" for none')
    .option("--per-minute <tokens>", 'tokens per UTC minute; "tier": what the tier says', parseLimitOrTier)
    .option("--per-day <tokens>", 'tokens per UTC day; "tier": what the tier says', parseLimitOrTier)
    .option("--disable", "CheckLimits refuses it outright")
    .option("--enable", "it does so no more")
    .action((customerId: string, apiKeyId: string, fields: Fields) =>
      withKeys(async ({ keys, show }) => show(await keys.update({ customerId, apiKeyId }, changeOf(fields)), fields)),
    );
}

function changeOf({ name, tier, perMinute, perDay, disable, enable }: Fields): ApiKeyChange {
  const limit = (sent: Fields["perDay"]) => (sent === "tier" ? undefined : sent);
  return {
    ...(name !== undefined && { name }),
    ...(tier !== undefined && { tier }),
    ...(perMinute !== undefined && { tokensPerMinute: limit(perMinute) }),
    ...(perDay !== undefined && { tokensPerDay: limit(perDay) }),
    ...((disable || enable) && { disabled: enable !== true }),
  };
}

function showCommand(): Command {
  return keyCommand(
    "show",
    "Shows a key, and what is left of its limits in the minute and the day that it is now, by the ledger.",
    "metering keys show acme key_1 --json",
  ).action((customerId: string, apiKeyId: string, fields: Fields) =>
    withKeys(async ({ keys, show, left }) => {
      const key = await keys.get({ customerId, apiKeyId });
      show(key, fields, await left(key));
    }),
  );
}

function deleteCommand(): Command {
  return keyCommand(
    "delete",
    "Takes a key's definition away, and with it its limits. Its usage stays. A repeat changes nothing.",
    "metering keys delete acme key_1",
  ).action((customerId: string, apiKeyId: string, { json }: Fields) =>
    withKeys(async ({ keys }) => {
      const deleted = await keys.delete({ customerId, apiKeyId });
      if (json) process.stdout.write(`${JSON.stringify({ customerId, apiKeyId, deleted })}\n`);
      else
        process.stdout.write(
          deleted ? `${apiKeyId} of ${customerId} has no limits any more.\n` : "There was no such key.\n",
        );
    }),
  );
}

function listCommand(): Command {
  return new Command("list")
    .description("Lists keys, ordered by customer and key.")
    .option("--customer <id>", "only this customer's", parseId)
    .option("--limit <n>", `at most so many, up to ${LIST_MAX}`, parseCount, 100)
    .option("--json", "print one JSON array")
    .addHelpText(
      "after",
      `${SETTINGS}\nExit codes: 0 listed, 1 the database cannot be read, 2 bad usage.\nExample: metering keys list --customer acme`,
    )
    .action(({ customer, limit, json }: { customer?: string; limit: number; json?: true }) =>
      withKeys(async ({ keys, policy }) => {
        const found = await keys.list(customer, undefined, limit);
        if (json) process.stdout.write(`${JSON.stringify(found.map((key) => toJson(key, policy)))}\n`);
        else {
          const more = found.length === limit ? "... and maybe more: --limit\n" : "";
          process.stdout.write(
            found.length === 0 ? "none\n" : found.map((key) => describe(key, policy)).join("") + more,
          );
        }
      }),
    );
}

interface Desk {
  readonly keys: ManageKeys;
  readonly policy: LimitPolicy;
  show(key: ApiKey, fields: Fields, left?: readonly Left[]): void;
  left(key: ApiKey): Promise<readonly Left[]>;
}

interface Left {
  readonly window: string;
  readonly limit: string;
  readonly remaining: string;
  readonly resetsAt: string;
}

function withKeys(work: (desk: Desk) => Promise<void>): Promise<void> {
  return withDatabase("keys", async ({ config, pool }: CommandDatabase) => {
    const { shardCount } = await readDeployment(pool);
    const catalog = readMeterCatalog(config.catalogFile);
    const policy = limitPolicyOf(catalog);
    const keys = new ManageKeys({ keys: postgresApiKeys(pool, catalog, shardCount), policy, onChange: async () => {} });
    const counters = postgresLimitCounters(pool, () => SYSTEM_CLOCK.nowMs());
    await work({
      keys,
      policy,
      show: (key, { json }, left) =>
        void process.stdout.write(
          json ? `${JSON.stringify({ ...toJson(key, policy), ...(left && { left }) })}\n` : describe(key, policy, left),
        ),
      left: async (key: ApiKey & KeyRef) => {
        const [usage] = await counters.read([key]);
        return (usage === undefined ? [] : limitStatuses(key, policy, usage)).map(
          ({ window, limit, remaining, resetMs }) => {
            return { window, limit: `${limit}`, remaining: `${remaining}`, resetsAt: new Date(resetMs).toISOString() };
          },
        );
      },
    });
  });
}

/** Quantities as text: they may be beyond what JSON's numbers hold. */
function toJson(key: ApiKey, policy: LimitPolicy): object {
  const { customerId, apiKeyId, name, tier, disabled, createdMs, updatedMs } = key;
  const limit = (window: "minute" | "day") => limitOf(key, window, policy)?.toString() ?? null;
  const times = { createdAt: new Date(createdMs).toISOString(), updatedAt: new Date(updatedMs).toISOString() };
  return { customerId, apiKeyId, name, tier, disabled, perMinute: limit("minute"), perDay: limit("day"), ...times };
}

function describe(key: ApiKey, policy: LimitPolicy, left: readonly Left[] = []): string {
  const { customerId, apiKeyId, name, tier, disabled } = key;
  const limits = (["minute", "day"] as const).map((window) => `${limitOf(key, window, policy) ?? "any"} a ${window}`);
  const words = [
    `${customerId}  ${apiKeyId}`,
    limits.join(", "),
    ...(tier === "" ? [] : [`tier ${tier}${policy.tiers.has(tier) ? "" : ", WHICH IS NOT CONFIGURED"}`]),
    ...(name === "" ? [] : [`"${name}"`]),
    ...(disabled ? ["DISABLED"] : []),
  ];
  const lines = left.map(
    ({ window, remaining, resetsAt }) => `    ${remaining} left in this ${window}, until ${resetsAt}\n`,
  );
  return `${words.join("  ")}\n${lines.join("")}`;
}

function parseId(text: string): string {
  const problem = textProblem(text, 1, ID_MAX);
  if (problem !== undefined) throw new InvalidArgumentError(problem);
  return text;
}

function parseName(text: string): string {
  const problem = textProblem(text, 0, NAME_MAX);
  if (problem !== undefined) throw new InvalidArgumentError(problem);
  return text;
}

function parseLimit(text: string): bigint {
  const limit = /^\d{1,19}$/.test(text) ? BigInt(text) : -1n;
  if (limit < 0n || limit > LIMIT_MAX) throw new InvalidArgumentError(`must be a whole number, 0..${LIMIT_MAX}`);
  return limit;
}

function parseLimitOrTier(text: string): bigint | "tier" {
  return text === "tier" ? text : parseLimit(text);
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > LIST_MAX) throw new InvalidArgumentError(`1 to ${LIST_MAX}`);
  return count;
}
