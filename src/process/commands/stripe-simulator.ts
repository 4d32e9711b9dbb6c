// `metering stripe-simulator`: the stand-in for Stripe alone, for a service that runs elsewhere.
import { Command, InvalidArgumentError } from "commander";
import { startStripeSimulator } from "../../stripe-simulator/server.ts";
import { processEnvironment } from "../config/environment.ts";
import { readMeterCatalog } from "../config/meter-catalog.ts";
import { type Config, parseConfig } from "../config/parse-config.ts";
import { runUntilStopped } from "../lifecycle.ts";
import { createLogger, secretsOf } from "../logger.ts";
import { requireFreePorts } from "../port-check.ts";
import { makeSimulatedMeters } from "../simulated-stripe.ts";

interface Options {
  readonly json?: true;
  readonly data?: string;
  readonly webhookUrl?: string;
  readonly thinWebhookUrl?: string;
}

export function buildCommand(): Command {
  return new Command("stripe-simulator")
    .description(
      "Runs a SIMULATED Stripe: customers, meters, meter events, subscriptions, invoices, signed webhooks. The official SDKs talk to it. " +
        "No request reaches Stripe. A meter is made for every event name of metering.config.json.",
    )
    .option("--data <file>", "keep its state in this file; without it nothing survives the end")
    .option("--webhook-url <url>", "send snapshot events there, signed with the first STRIPE_WEBHOOK_SECRET", parseUrl)
    .option(
      "--thin-webhook-url <url>",
      "send thin events there, signed with the first STRIPE_THIN_WEBHOOK_SECRET",
      parseUrl,
    )
    .option("--json", 'print {"url":...} when it is up, instead of for people')
    .addHelpText(
      "after",
      `
Settings: STRIPE_SIMULATOR_PORT, METERING_HOST, METERING_CONFIG; STRIPE_WEBHOOK_SECRET with --webhook-url,
STRIPE_THIN_WEBHOOK_SECRET with --thin-webhook-url.
Exit codes: 0 ended by a signal, 1 it could not be started, 2 the configuration is wrong.
Example: metering stripe-simulator --data simulator.jsonl
  and then: STRIPE_API_BASE=http://127.0.0.1:12111 STRIPE_SECRET_KEY=sk_test_simulated metering serve`,
    )
    .action(async (options: Options) => {
      const config = parseConfig(processEnvironment(), [
        ...(options.webhookUrl === undefined ? [] : (["stripeWebhookSecrets"] as const)),
        ...(options.thinWebhookUrl === undefined ? [] : (["stripeThinWebhookSecrets"] as const)),
      ]);
      const logger = createLogger(config.logLevel, secretsOf(config), process.stderr);
      process.exitCode = await runUntilStopped({
        async start(closers) {
          const { url, close } = await startSimulator(config, options);
          await closers.add("the simulated Stripe", close);
          process.stdout.write(
            options.json
              ? `${JSON.stringify({ url })}\n`
              : `SIMULATED Stripe at ${url}, its page at ${url}/_simulator/\n`,
          );
          return { died: new Promise<string>(() => {}) };
        },
        graceMs: config.shutdownGraceMs,
        logger,
        control: process,
      });
    });
}

async function startSimulator(config: Config, options: Options): Promise<{ url: string; close: () => Promise<void> }> {
  const catalog = readMeterCatalog(config.catalogFile);
  await requireFreePorts(config, ["stripeSimulatorPort"]);
  const { webhookUrl, thinWebhookUrl } = options;
  const [secret = ""] = config.stripeWebhookSecrets;
  const [thinSecret = ""] = config.stripeThinWebhookSecrets;
  const simulator = await startStripeSimulator({
    host: config.host,
    port: config.stripeSimulatorPort,
    dataFile: options.data,
    webhookEndpoints: [
      ...(webhookUrl === undefined ? [] : [{ url: webhookUrl, secret }]),
      ...(thinWebhookUrl === undefined ? [] : [{ url: thinWebhookUrl, secret: thinSecret, payload: "thin" } as const]),
    ],
  });
  await makeSimulatedMeters(
    simulator.url,
    catalog.billing.map((rule) => rule.eventName),
  );
  return { url: simulator.url, close: () => simulator.close() };
}

/** Elsewhere events would go nowhere, and nothing would say so. */
function parseUrl(text: string): string {
  if (!/^https?:\/\/./.test(text) || !URL.canParse(text))
    throw new InvalidArgumentError("must be http://... or https://...");
  return text;
}
