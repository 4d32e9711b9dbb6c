// A simulator of its own for each test, with the official SDK pointed at it and a clock that only the test moves.
import Stripe from "stripe";
import type { StripeSimulator, StripeSimulatorOptions } from "../../../src/stripe-simulator/server.ts";
import { startCheckedSimulator } from "../../support/checked-simulator.ts";

/** 2026-03-10 12:00:00 UTC, a Tuesday. */
export const START_MS = Date.UTC(2026, 2, 10, 12);
export const START = START_MS / 1_000;

export function sdk(simulator: { readonly port: number }, apiKey = "sk_test_x"): Stripe {
  return new Stripe(apiKey, {
    host: "127.0.0.1",
    port: simulator.port,
    protocol: "http",
    telemetry: false,
    maxNetworkRetries: 0,
  });
}

export interface World {
  readonly simulator: StripeSimulator;
  readonly stripe: Stripe;
}

/** Starts a simulator that stands at START_MS; it ends with the test, which fails if an exchange did not fit Stripe's OpenAPI. */
export async function startWorld(options: StripeSimulatorOptions = {}): Promise<World> {
  const simulator = await startCheckedSimulator({ clock: () => START_MS, seed: "test", ...options });
  return { simulator, stripe: sdk(simulator) };
}

/** A world with a customer and a summing meter for "tokens". */
export async function startMetering(options: StripeSimulatorOptions = {}) {
  const world = await startWorld(options);
  const customer = (await world.stripe.customers.create({ name: "Ada" })).id;
  const meter = await createMeter(world.stripe, "tokens");
  return { ...world, customer, meter };
}

export async function createMeter(
  stripe: Stripe,
  eventName: string,
  more: Partial<Stripe.Billing.MeterCreateParams> = {},
): Promise<string> {
  const meter = await stripe.billing.meters.create({
    display_name: eventName,
    event_name: eventName,
    default_aggregation: { formula: "sum" },
    ...more,
  });
  return meter.id;
}

/** Parameters of a meter event. */
export function event(customer: string, value: number | string, identifier?: string, timestamp?: number) {
  return {
    event_name: "tokens",
    payload: { stripe_customer_id: customer, value: String(value) },
    ...(identifier === undefined ? {} : { identifier }),
    ...(timestamp === undefined ? {} : { timestamp }),
  };
}

/** The same for v2, whose times are RFC 3339. */
export function v2Event(customer: string, value: number | string, identifier?: string, timestamp?: number) {
  const { event_name, payload } = event(customer, value);
  return {
    event_name,
    payload,
    ...(identifier === undefined ? {} : { identifier }),
    ...(timestamp === undefined ? {} : { timestamp: new Date(timestamp * 1_000).toISOString() }),
  };
}

/** Opens a session of the meter event stream. `send` streams events with its token. */
export async function openStream({ simulator, stripe }: World) {
  const session = await stripe.v2.billing.meterEventSession.create();
  const streaming = sdk(simulator, session.authentication_token);
  type Events = Parameters<typeof stripe.v2.billing.meterEventStream.create>[0]["events"];
  return { session, streaming, send: (...events: Events) => streaming.v2.billing.meterEventStream.create({ events }) };
}

/** Past the end of the validation window that began last, and past its error report. */
export const VALIDATED_MS = 12_000;

/** What a failed call showed of Stripe's error. */
export interface Refusal {
  readonly class: string;
  readonly status: number | undefined;
  readonly code: string | undefined;
  readonly message: string;
  readonly shouldRetry: string | undefined;
  /** Stripe-Rate-Limited-Reason. */
  readonly reason: string | undefined;
}

/** Awaits a call that must fail with an error of the SDK's. */
export async function refusal(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeError)) throw error;
    return {
      class: error.type,
      status: error.statusCode,
      code: error.code,
      message: error.message,
      shouldRetry: error.headers?.["stripe-should-retry"],
      reason: error.headers?.["stripe-rate-limited-reason"],
    };
  }
  throw new Error("the call did not fail");
}

/** A request as the wire has it, past the SDK's checks. */
export async function raw(
  simulator: { readonly url: string },
  method: string,
  path: string,
  body?: string,
  headers: Record<string, string> = {},
): Promise<{ readonly status: number; readonly headers: Headers; readonly body: Record<string, unknown> }> {
  const response = await fetch(`${simulator.url}${path}`, {
    method,
    headers: {
      authorization: "Bearer sk_test_x",
      "content-type": path.startsWith("/_simulator") ? "application/json" : "application/x-www-form-urlencoded",
      ...headers,
    },
    ...(body === undefined ? {} : { body }),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

/** Unix seconds of an ISO text. */
export const seconds = (text: string): number => Date.parse(text) / 1_000;

/** Metering with a monthly price of half a cent a token, and the customer subscribed to it. */
export async function startSubscribed(
  more: Partial<Stripe.SubscriptionCreateParams> = {},
  options: StripeSimulatorOptions = {},
) {
  const world = await startMetering(options);
  const { stripe, customer, meter } = world;
  const price = await stripe.prices.create({
    currency: "usd",
    unit_amount_decimal: "0.5" as never,
    product_data: { name: "Tokens" },
    recurring: { interval: "month", usage_type: "metered", meter },
  });
  const subscription = await stripe.subscriptions.create({ customer, items: [{ price: price.id }], ...more });
  return { ...world, price, subscription };
}

/** The first item's current period. */
export function period(subscription: Stripe.Subscription): readonly [number | undefined, number | undefined] {
  const item = subscription.items.data[0];
  return [item?.current_period_start, item?.current_period_end];
}

/** The types of all events, oldest first. */
export async function eventTypes(stripe: Stripe): Promise<string[]> {
  return (await stripe.events.list({ limit: 100 })).data.map(({ type }) => type).reverse();
}
