// What the setup tests share: an account, a wanted setup, and clients that watch or die.
import Stripe from "stripe";
import { onTestFinished } from "vitest";
import { openStripe } from "../../../src/stripe/client.ts";
import type { SetupItem } from "../../../src/stripe/setup/item.ts";
import { setUpStripe } from "../../../src/stripe/setup/setup.ts";
import type { StripeSetup, WantedPrice } from "../../../src/stripe/setup/wanted.ts";
import { type StripeSimulator, startStripeSimulator } from "../../../src/stripe-simulator/server.ts";

export const URL_OF_EVENTS = "https://metering.example/webhooks/stripe";
export const URL_OF_THIN_EVENTS = "https://metering.example/webhooks/stripe/thin";

export function price(eventName: string, more: Partial<WantedPrice> = {}): WantedPrice {
  const lookupKey = `metering_${eventName}_usd_month`;
  return { eventName, currency: "usd", unitAmountDecimal: "0.0003", interval: "month", lookupKey, ...more };
}

/** Two meters, a product, a price each, an endpoint and a destination. */
export const SETUP: StripeSetup = {
  product: { id: "metering", name: "Tokens" },
  prices: [price("input_tokens"), price("output_tokens", { unitAmountDecimal: "0.0015" })],
  webhookUrl: URL_OF_EVENTS,
  thinWebhookUrl: URL_OF_THIN_EVENTS,
};

export const METERS: ReadonlyMap<string, readonly string[]> = new Map([
  ["input_tokens", []],
  ["output_tokens", []],
]);

/** What a run over SETUP settles, in order. */
export const NAMES = [
  "input_tokens",
  "output_tokens",
  "Tokens",
  "metering_input_tokens_usd_month",
  "metering_output_tokens_usd_month",
  URL_OF_EVENTS,
  URL_OF_THIN_EVENTS,
];

export interface Account {
  readonly simulator: StripeSimulator;
  readonly stripe: Stripe;
  /** A client of its own, as another process would have. */
  connect(): Stripe;
}

/** Starts an empty account; it goes with the test. */
export async function startAccount(): Promise<Account> {
  const simulator = await startStripeSimulator({ seed: "setup" });
  onTestFinished(() => simulator.close());
  const connect = () =>
    openStripe({ secretKey: "sk_test_1", apiBase: new URL(simulator.url), maxSockets: 4, timeoutMs: 5_000 });
  return { simulator, stripe: connect(), connect };
}

export interface RunOptions {
  readonly setup?: Partial<StripeSetup>;
  readonly meters?: ReadonlyMap<string, readonly string[]>;
  readonly dryRun?: boolean;
}

/** A run to its end. Rejects with its error. */
export async function run(stripe: Stripe, options: RunOptions = {}): Promise<SetupItem[]> {
  const { setup, meters = METERS, dryRun = false } = options;
  const items: SetupItem[] = [];
  for await (const item of setUpStripe({ stripe, meters, setup: { ...SETUP, ...setup }, dryRun })) items.push(item);
  return items;
}

/** Requests other than GET that the simulator answered, by route. */
export function writesOf(simulator: StripeSimulator): Record<string, Readonly<Record<string, number>>> {
  const { answered } = simulator.state();
  return Object.fromEntries(Object.entries(answered).filter(([route]) => !route.startsWith("GET ")));
}

/** Lets nobody through until `count` have come; for each name anew. */
export class Barrier {
  readonly #count: number;
  readonly #waiting = new Map<string, { arrived: number; opened: PromiseWithResolvers<void> }>();

  constructor(count: number) {
    this.#count = count;
  }

  pass(name: string): Promise<void> {
    const gate = this.#waiting.get(name) ?? { arrived: 0, opened: Promise.withResolvers<void>() };
    this.#waiting.set(name, gate);
    gate.arrived += 1;
    if (gate.arrived === this.#count) gate.opened.resolve();
    return gate.opened.promise;
  }
}

type HttpClient = InstanceType<typeof Stripe.HttpClient>;

/** Sends its n-th write only when all that share the barrier are at theirs: each of them has looked, and found nothing. */
export class RacingClient extends Stripe.HttpClient {
  readonly #client: HttpClient = Stripe.createNodeHttpClient();
  readonly #barrier: Barrier;
  /** Idempotency keys: a repeat by the SDK waits for nobody. */
  readonly #sent = new Set<unknown>();

  constructor(barrier: Barrier) {
    super();
    this.#barrier = barrier;
  }

  override getClientName(): string {
    return "racing";
  }

  override async makeRequest(...request: Parameters<HttpClient["makeRequest"]>): ReturnType<HttpClient["makeRequest"]> {
    const [, , path, method, headers] = request;
    const key = Reflect.get(headers, "Idempotency-Key");
    if (method !== "GET" && !this.#sent.has(key)) {
      this.#sent.add(key);
      await this.#barrier.pass(`${this.#sent.size} ${path}`);
    }
    return await this.#client.makeRequest(...request);
  }
}

/** Dies at its n-th write: before Stripe hears of it, or after it was carried out and before the answer. A dead one does nothing more. */
export class MortalClient extends Stripe.HttpClient {
  readonly died: Promise<void>;
  readonly #client: HttpClient = Stripe.createNodeHttpClient();
  readonly #last: number;
  readonly #carriedOut: boolean;
  readonly #die: () => void;
  #writes = 0;

  constructor(last: number, carriedOut: boolean) {
    super();
    this.#last = last;
    this.#carriedOut = carriedOut;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.died = promise;
    this.#die = resolve;
  }

  override getClientName(): string {
    return "mortal";
  }

  override async makeRequest(...request: Parameters<HttpClient["makeRequest"]>): ReturnType<HttpClient["makeRequest"]> {
    const [, , , method] = request;
    if (method === "GET") return await this.#client.makeRequest(...request);
    this.#writes += 1;
    if (this.#writes < this.#last) return await this.#client.makeRequest(...request);
    if (this.#carriedOut) await this.#client.makeRequest(...request);
    this.#die();
    return await new Promise<never>(() => {});
  }
}

/** The SDK over a client of the above. */
export function stripeOver(httpClient: HttpClient, { port }: StripeSimulator): Stripe {
  return new Stripe("sk_test_1", { host: "127.0.0.1", port, protocol: "http", telemetry: false, httpClient });
}
