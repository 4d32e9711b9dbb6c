// `metering tokens`: credentials of callers.
import { randomBytes } from "node:crypto";
import { Command, InvalidArgumentError } from "commander";
import { ManageTokens, TOKEN_CUSTOMERS_MAX } from "../../app/manage-tokens.ts";
import type { AccessToken } from "../../app/ports/access-tokens.ts";
import { SCOPES, type Scope } from "../../domain/access.ts";
import { MeteringError } from "../../domain/errors.ts";
import { postgresAccessTokens } from "../../postgres/access-tokens.ts";
import { readDeployment } from "../../postgres/deployment.ts";
import { DASHBOARD_TTL, DashboardTokens } from "../../rpc/dashboard-tokens.ts";
import { ID_MAX, textProblem } from "../../rpc/text-bounds.ts";
import { withDatabase } from "../command-database.ts";
import { parseDuration } from "../config/duration.ts";
import type { LazyCommand } from "../lazy-commands.ts";
import { OperatorError } from "../operator-error.ts";
import { SYSTEM_CLOCK } from "../system-clock.ts";

const SETTINGS = `
Settings: DATABASE_URL; without it, the database of the "metering dev" that runs on METERING_DATA_DIR.`;
const LIST_MAX = 10_000;

export const subcommands: readonly LazyCommand[] = [
  { name: "create", summary: "make an access token", load: async () => ({ buildCommand: createCommand }) },
  { name: "list", summary: "list access tokens", load: async () => ({ buildCommand: listCommand }) },
  { name: "show", summary: "show an access token", load: async () => ({ buildCommand: showCommand }) },
  { name: "revoke", summary: "end an access token", load: async () => ({ buildCommand: revokeCommand }) },
  {
    name: "dashboard",
    summary: "make a link to a dashboard",
    load: async () => ({ buildCommand: dashboardCommand }),
  },
  {
    name: "revoke-dashboard",
    summary: "end links to dashboards",
    load: async () => ({ buildCommand: revokeDashboardCommand }),
  },
];

export function buildCommand(): Command {
  return new Command("tokens")
    .description(
      'Makes and revokes what callers show: "authorization: Bearer <token>". Looked at where METERING_AUTH is tokens. ' +
        "A change holds on every server within 2 seconds.",
    )
    .usage("<command> [options]")
    .helpCommand(false);
}

function help(example: string, failures: string): string {
  return `${SETTINGS}\nExit codes: 0 done, 1 ${failures}the database cannot be reached, 2 bad usage.\nExample: ${example}`;
}

interface CreateFields {
  readonly scopes: readonly Scope[];
  readonly customers?: readonly string[];
  readonly allCustomers?: true;
  readonly expiresIn?: number;
  readonly json?: true;
}

function createCommand(): Command {
  return new Command("create")
    .description("Makes an access token and prints it: this once, for only a hash of it is kept.")
    .argument("<name>", "for people: who uses it", parseId)
    .requiredOption("--scopes <list>", `comma-separated: ${SCOPES.join(", ")}; none implies another`, parseScopes)
    .option("--customers <ids>", "comma-separated: the customers that it may act for", parseCustomers)
    .option("--all-customers", "it may act for all")
    .option("--expires-in <time>", "such as 90d; without it, never by itself", parseTime)
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      help("metering tokens create gateway --scopes record --all-customers", "it cannot be made, or "),
    )
    .action(async (name: string, { scopes, customers, allCustomers, expiresIn, json }: CreateFields) => {
      if ((customers !== undefined) === (allCustomers === true))
        throw new OperatorError("say --customers or --all-customers, one of them");
      const expiresMs = expiresIn === undefined ? undefined : SYSTEM_CLOCK.nowMs() + expiresIn;
      await withTokens(async (tokens) => {
        const { token, secret } = await tokens.create({ name, scopes, customers, expiresMs });
        if (json) print(JSON.stringify({ ...toJson(token), secret }));
        else print(`${secret}\n\nKeep it now: it is shown this once. ${describe(token)}`);
      });
    });
}

function listCommand(): Command {
  return new Command("list")
    .description("Lists access tokens, ordered by id, without their secrets.")
    .option("--all", "revoked and expired ones too")
    .option("--limit <n>", `at most so many, up to ${LIST_MAX}`, parseCount, 100)
    .option("--json", "print one JSON array")
    .addHelpText("after", help("metering tokens list --all", ""))
    .action(({ all, limit, json }: { all?: true; limit: number; json?: true }) =>
      withTokens(async (tokens) => {
        const found = await tokens.list({ after: "", limit, live: all !== true });
        if (json) print(JSON.stringify(found.map(toJson)));
        else if (found.length === 0) print("none");
        else print(found.map(describe).join("\n") + (found.length === limit ? "\n... and maybe more: --limit" : ""));
      }),
    );
}

function oneToken(name: string, description: string, work: (tokens: ManageTokens, id: string) => Promise<AccessToken>) {
  return new Command(name)
    .description(description)
    .argument("<token-id>", "as tokens list shows it", parseId)
    .option("--json", "print one JSON object")
    .addHelpText("after", help(`metering tokens ${name} 0abcDEF12345`, "there is no such token, or "))
    .action((tokenId: string, { json }: { json?: true }) =>
      withTokens(async (tokens) => {
        const token = await work(tokens, tokenId);
        print(json ? JSON.stringify(toJson(token)) : describe(token));
      }),
    );
}

function showCommand(): Command {
  return oneToken("show", "Shows an access token, without its secret.", (tokens, id) => tokens.get(id));
}

function revokeCommand(): Command {
  return oneToken(
    "revoke",
    "Ends an access token for good, and the streams that it holds open, within 2 seconds on every server. A repeat changes nothing.",
    (tokens, id) => tokens.revoke(id),
  );
}

interface DashboardFields {
  readonly customer?: string;
  readonly allCustomers?: true;
  readonly ttl: number;
  readonly url?: string;
  readonly json?: true;
}

function dashboardCommand(): Command {
  return new Command("dashboard")
    .description(
      "Signs a token for a dashboard and prints the link. It is not stored, so revoke-dashboard ends a customer's all at once: keep it short.",
    )
    .option("--customer <id>", "whose usage it shows", parseId)
    .option("--all-customers", "the operator's")
    .option("--ttl <time>", "1m to 24h", parseTtl, DASHBOARD_TTL.defaultMs)
    .option("--url <origin>", "where browsers reach HTTP_PORT; default: this machine's loopback")
    .option("--json", "print one JSON object")
    .addHelpText("after", help("metering tokens dashboard --customer acme --ttl 15m", ""))
    .action(async ({ customer, allCustomers, ttl, url, json }: DashboardFields) => {
      if ((customer !== undefined) === (allCustomers === true))
        throw new OperatorError("say --customer or --all-customers, one of them");
      await withDatabase("tokens", async ({ config, pool }) => {
        const signer = new DashboardTokens(await readDeployment(pool), SYSTEM_CLOCK);
        const { token, expiresMs } = await signer.create(
          customer === undefined ? "all" : { customerId: customer },
          ttl,
        );
        const origin =
          url ??
          `http${config.tlsPorts.includes("http") && config.tlsCertFile ? "s" : ""}://localhost:${config.httpPort}`;
        // In the fragment, which browsers keep to themselves: it is in no server's log.
        const link = `${origin.replace(/\/$/, "")}/#token=${token}`;
        const expiresAt = new Date(expiresMs).toISOString();
        print(json ? JSON.stringify({ token, link, expiresAt }) : `${link}\nGood until ${expiresAt}.`);
      });
    });
}

function revokeDashboardCommand(): Command {
  return new Command("revoke-dashboard")
    .description(
      "Ends all links to dashboards that were made so far, of a customer or of everybody, and the streams that they hold open, within 3 seconds on every server.",
    )
    .option("--customer <id>", "whose page they open", parseId)
    .option("--all-customers", "everybody's, and the operators'")
    .option("--json", "print one JSON object")
    .addHelpText("after", help("metering tokens revoke-dashboard --customer acme", ""))
    .action(({ customer, allCustomers, json }: Omit<DashboardFields, "ttl">) => {
      if ((customer !== undefined) === (allCustomers === true))
        throw new OperatorError("say --customer or --all-customers, one of them");
      return withTokens(async (tokens) => {
        const notBefore = isoOf(await tokens.revokeDashboards(customer ?? ""));
        const whose = customer === undefined ? "everybody" : customer;
        if (json) print(JSON.stringify({ customer: customer ?? "all", notBefore }));
        else print(`Ended: links to dashboards of ${whose}. New ones are good if made from ${notBefore} on.`);
      });
    });
}

function withTokens(work: (tokens: ManageTokens) => Promise<void>): Promise<void> {
  return withDatabase("tokens", async ({ pool }) => {
    const manage = new ManageTokens({ tokens: postgresAccessTokens(pool), randomBytes, onChange: async () => {} });
    try {
      await work(manage);
    } catch (cause) {
      if (!(cause instanceof MeteringError)) throw cause;
      throw new OperatorError(cause.message, { cause });
    }
  });
}

function toJson({ tokenId, name, scopes, customers, ...times }: AccessToken): object {
  return {
    tokenId,
    name,
    scopes,
    customers: customers ?? "all",
    createdAt: isoOf(times.createdMs),
    expiresAt: isoOf(times.expiresMs),
    lastUsedAt: isoOf(times.lastUsedMs),
    revokedAt: isoOf(times.revokedMs),
  };
}

function describe({ tokenId, name, scopes, customers, expiresMs, lastUsedMs, revokedMs }: AccessToken): string {
  return [
    `${tokenId}  "${name}"`,
    scopes.join(", "),
    customers === undefined
      ? "all customers"
      : customers.length > 3
        ? `${customers.length} customers`
        : customers.join(", "),
    lastUsedMs === undefined ? "never used" : `last used ${isoOf(lastUsedMs)}`,
    ...(expiresMs === undefined ? [] : [`ends ${isoOf(expiresMs)}`]),
    ...(revokedMs === undefined ? [] : [`REVOKED ${isoOf(revokedMs)}`]),
  ].join("  ");
}

function isoOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function parseId(text: string): string {
  const problem = textProblem(text, 1, ID_MAX);
  if (problem !== undefined) throw new InvalidArgumentError(problem);
  return text;
}

function parseScopes(list: string): readonly Scope[] {
  const scopes = [...new Set(list.split(",").map((word) => word.trim()))];
  const known = SCOPES.filter((scope) => scopes.includes(scope));
  if (known.length !== scopes.length) throw new InvalidArgumentError(`must be of ${SCOPES.join(", ")}`);
  return known;
}

function parseCustomers(list: string): readonly string[] {
  const ids = [...new Set(list.split(",").map((id) => parseId(id.trim())))];
  if (ids.length > TOKEN_CUSTOMERS_MAX) throw new InvalidArgumentError(`at most ${TOKEN_CUSTOMERS_MAX}`);
  return ids;
}

function parseTime(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms < 1_000 || ms > 3_650 * 86_400_000) throw new InvalidArgumentError("must be 1s to 3650d");
  return ms;
}

function parseTtl(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms < DASHBOARD_TTL.minMs || ms > DASHBOARD_TTL.maxMs)
    throw new InvalidArgumentError("must be 1m to 24h");
  return ms;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > LIST_MAX) throw new InvalidArgumentError(`1 to ${LIST_MAX}`);
  return count;
}
