// `metering stripe setup`: what the configuration needs at Stripe, found and checked, or made.
import { Command } from "commander";
import type { MeterCatalog } from "../../domain/meter.ts";
import { openStripe } from "../../stripe/client.ts";
import type { SetupItem } from "../../stripe/setup/item.ts";
import { type SetupOptions, setUpStripe } from "../../stripe/setup/setup.ts";
import { processEnvironment } from "../config/environment.ts";
import { readMeterCatalog, readStripeSetup } from "../config/meter-catalog.ts";
import { type Config, ConfigError, parseConfig } from "../config/parse-config.ts";
import { SETTINGS } from "../config/settings.ts";
import { serviceEnvironment } from "../dev-directory.ts";
import { OperatorError } from "../operator-error.ts";
import { setupReport } from "../setup-report.ts";

interface Options {
  readonly dryRun?: true;
  readonly live?: true;
  readonly json?: true;
}

const TIMEOUT_MS = 30_000;

export function buildCommand(): Command {
  return new Command("setup")
    .description(
      'Finds and checks, or makes, what metering.config.json needs at Stripe: a meter for each event name; of its section "stripe" the product, the prices, ' +
        "the webhook endpoint and the destination of thin events. Missing events are added and the product is renamed; whatever else differs is left as it is, and told. " +
        "Safe to repeat, to race and to interrupt. A signing secret is printed once, when its endpoint is made.",
    )
    .option("--dry-run", "only look, and say what would be done")
    .option("--live", "needed with a live key, unless it is a dry run: what is made there bills customers")
    .option("--json", 'print one JSON object: {"ok":..,"mode":..,"dryRun":..,"items":[..],"error":..}')
    .addHelpText(
      "after",
      `
Settings: STRIPE_SECRET_KEY, METERING_CONFIG, STRIPE_API_BASE; without a key, those of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 all is, or would be, as needed; 1 something needs a person, or Stripe did not go along; 2 the configuration is wrong.
Example: STRIPE_SECRET_KEY=sk_test_... metering stripe setup --dry-run`,
    )
    .action(async (options: Options) => {
      const config = parseConfig(await settings(), ["stripeSecretKey"]);
      const catalog = readMeterCatalog(config.catalogFile);
      const setup = readStripeSetup(config.catalogFile);
      const mode = modeOf(config, options, [setup.webhookUrl, setup.thinWebhookUrl]);
      const dryRun = options.dryRun === true;
      const { items, error } = await run({ stripe: client(config), meters: metersOf(catalog), setup, dryRun });
      const ok = error === undefined && items.every(({ state }) => state !== "cannot_change");
      const result = { ok, mode, apiBase: config.stripeApiBase, dryRun, items, error };
      process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : setupReport(result));
      if (!ok) process.exitCode = 1;
      if (error !== undefined && !options.json) throw new OperatorError(error);
    });
}

/** A key in the environment says which Stripe is meant; only without one it is the running dev service's. */
async function settings(): Promise<ReturnType<typeof processEnvironment>> {
  const environment = processEnvironment();
  if (environment[SETTINGS.stripeSecretKey.env]) return environment;
  return serviceEnvironment(environment, "stripeSecretKey");
}

/** Throws ConfigError where the key is of the wrong mode for what was asked. */
function modeOf(config: Config, options: Options, urls: readonly (string | undefined)[]): "live" | "test" {
  const isLive = /^.k_live_/.test(config.stripeSecretKey ?? "");
  const problems = [
    ...(isLive && !options.live && !options.dryRun
      ? [
          "STRIPE_SECRET_KEY is a live key: add --live if customers are to be billed with what is made, or --dry-run to look",
        ]
      : []),
    ...(!isLive && options.live ? ["--live was given, but STRIPE_SECRET_KEY is a test key"] : []),
    ...urls.flatMap((url) =>
      isLive && url?.startsWith("http:")
        ? [`${config.catalogFile}: ${url} must be https: live events are sent nowhere else`]
        : [],
    ),
  ];
  if (problems.length > 0) throw new ConfigError(problems);
  return isLive ? "live" : "test";
}

/** By event name, in the order of the rules: the payload keys of all rules that feed it. */
function metersOf({ billing }: MeterCatalog): Map<string, readonly string[]> {
  const meters = new Map<string, readonly string[]>();
  for (const { eventName, payload } of billing)
    meters.set(eventName, [...new Set([...(meters.get(eventName) ?? []), ...(payload?.keys() ?? [])])]);
  return meters;
}

function client({ stripeSecretKey = "", stripeApiBase }: Config): ReturnType<typeof openStripe> {
  const apiBase = stripeApiBase === undefined ? undefined : new URL(stripeApiBase);
  return openStripe({ secretKey: stripeSecretKey, apiBase, maxSockets: 1, timeoutMs: TIMEOUT_MS });
}

/** What came of it, in full or up to the failure: an endpoint's secret must be shown whatever comes after. */
async function run(options: SetupOptions): Promise<{ items: readonly SetupItem[]; error: string | undefined }> {
  const items: SetupItem[] = [];
  try {
    for await (const item of setUpStripe(options)) items.push(item);
    return { items, error: undefined };
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name !== "StripeCallError") throw cause;
    return { items, error: cause.message };
  }
}
