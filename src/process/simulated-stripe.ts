// The Stripe of a machine without a Stripe key: the simulator, with a meter for every event name of the catalog.
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStripe } from "../stripe/client.ts";
import { ensureDemoCustomer } from "../stripe/demo-customer.ts";
import { ensureMeters } from "../stripe/meters.ts";
import { startStripeSimulator } from "../stripe-simulator/server.ts";
import type { Environment } from "./config/parse-config.ts";
import { SETTINGS } from "./config/settings.ts";
import { OperatorError } from "./operator-error.ts";

export interface SimulatedStripeOptions {
  readonly host: string;
  /** 0 for a free one. */
  readonly port: number;
  /** Where the service will listen for snapshot events, and for thin ones. */
  readonly webhookUrl: string;
  readonly thinWebhookUrl: string;
  readonly dataDir: string;
  readonly eventNames: readonly string[];
}

export interface SimulatedStripe {
  readonly url: string;
  /** A customer with a monthly subscription, to try things with; the same over restarts. */
  readonly demoCustomerId: string;
  /** Settings that lead the service to it. */
  readonly environment: Environment;
  close(): Promise<void>;
}

/** Any test key will do for the simulator. */
const KEY = "sk_test_simulated";

/** Starts it, its state kept in the data directory, and makes the meters and the demo customer that it lacks. */
export async function startSimulatedStripe(options: SimulatedStripeOptions): Promise<SimulatedStripe> {
  const secret = ensureSecret(join(options.dataDir, "webhook-secret"));
  const thinSecret = ensureSecret(join(options.dataDir, "thin-webhook-secret"));
  const simulator = await startStripeSimulator({
    host: options.host,
    port: options.port,
    dataFile: join(options.dataDir, "stripe-simulator.jsonl"),
    webhookEndpoints: [
      { url: options.webhookUrl, secret },
      { url: options.thinWebhookUrl, secret: thinSecret, payload: "thin" },
    ],
  });
  let demoCustomerId: string;
  try {
    const [meterId] = await makeSimulatedMeters(simulator.url, options.eventNames);
    demoCustomerId = meterId === undefined ? "acme" : await ensureDemoCustomer(clientOf(simulator.url), meterId);
  } catch (cause) {
    await simulator.close();
    throw cause;
  }
  const environment = {
    [SETTINGS.stripeApiBase.env]: simulator.url,
    [SETTINGS.stripeSecretKey.env]: KEY,
    [SETTINGS.stripeWebhookSecrets.env]: secret,
    [SETTINGS.stripeThinWebhookSecrets.env]: thinSecret,
  };
  return { url: simulator.url, demoCustomerId, environment, close: () => simulator.close() };
}

/** The same over restarts: events that were signed before one still verify after it. */
function ensureSecret(file: string): string {
  if (!existsSync(file)) {
    writeFileSync(`${file}.new`, `whsec_${randomBytes(24).toString("hex")}`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  return readFileSync(file, "utf8");
}

/** Makes the meters that a simulator lacks, with the official client, as one would at Stripe. Their ids, in the order of the names. */
export async function makeSimulatedMeters(url: string, eventNames: readonly string[]): Promise<readonly string[]> {
  const meters = await ensureMeters(clientOf(url), [...new Set(eventNames)]);
  for (const { eventName, advice } of meters)
    if (advice !== "") throw new OperatorError(`the simulated Stripe's meter ${eventName}: ${advice}`);
  return meters.map(({ meterId }) => meterId);
}

function clientOf(url: string): ReturnType<typeof openStripe> {
  return openStripe({ secretKey: KEY, apiBase: new URL(url), maxSockets: 1, timeoutMs: 10_000 });
}
