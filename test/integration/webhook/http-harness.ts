// What the tests of the webhook port share: one over real HTTP, with the real signature check and the real inbox, and deliveries to it.
import Stripe from "stripe";
import { afterAll, beforeAll, beforeEach } from "vitest";
import { STORED_EVENT_TYPES } from "../../../src/app/apply-stripe-events.ts";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { stripeWebhookVerifier } from "../../../src/stripe/webhook-verifier.ts";
import { type DeliveryOutcome, THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../../../src/webhook/app.ts";
import { startWebhookServer, type WebhookServer, type WebhookServerOptions } from "../../../src/webhook/server.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

export const SECRET = "whsec_new";
export const OLD_SECRET = "whsec_old";
export const THIN_SECRET = "whsec_thin";
export const BODY_MAX = 4_096;

export let database: TestDatabase;
export let server: WebhookServer;
export const outcomes: DeliveryOutcome[] = [];
export let storedSignals = 0;
export const logged: object[] = [];

export function optionsFor(pool = database.pool): WebhookServerOptions {
  const log = (fields: object) => void logged.push(fields);
  return {
    host: "127.0.0.1",
    port: 0,
    requestTimeoutMs: 1_000,
    connectionsMax: 20,
    inbox: postgresStripeEventInbox(pool),
    verifier: stripeWebhookVerifier([SECRET, OLD_SECRET], testClock()),
    thinVerifier: stripeWebhookVerifier([THIN_SECRET], testClock()),
    storedTypes: STORED_EVENT_TYPES,
    bodyMaxBytes: BODY_MAX,
    onStored: () => {
      storedSignals += 1;
    },
    onDelivery: (outcome) => outcomes.push(outcome),
    logger: { debug: log, info: log, warn: log, error: log },
  };
}

beforeAll(async () => {
  database = await createTestDatabase();
  server = await startWebhookServer(optionsFor());
});
afterAll(async () => {
  await server.close(0);
  await database.close();
});
beforeEach(() => {
  outcomes.length = 0;
  storedSignals = 0;
  logged.length = 0;
});

let events = 0;
export function eventBody(fields: object = {}): string {
  events += 1;
  return JSON.stringify({
    id: `evt_http${events}`,
    object: "event",
    type: "customer.subscription.updated",
    created: 1_795_000_000,
    data: { object: { id: "sub_1", object: "subscription" } },
    ...fields,
  });
}

export const nowSeconds = () => Math.floor(Date.now() / 1000);

export function sign(payload: string, secret = SECRET, timestamp = nowSeconds()): string {
  return Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
}

export interface Delivery {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly port?: number;
}

/** A delivery as Stripe makes it, but for what is given. */
export function deliver(
  body: string,
  { method = "POST", path = WEBHOOK_PATH, headers = {}, port = server.port }: Delivery = {},
) {
  const all = { "content-type": "application/json; charset=utf-8", "stripe-signature": sign(body), ...headers };
  const init = { method, headers: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "")) };
  return fetch(`http://127.0.0.1:${port}${path}`, method === "POST" ? { ...init, body } : init);
}

export function thinBody(fields: object = {}): string {
  events += 1;
  return JSON.stringify({
    id: `evt_http${events}`,
    object: "v2.core.event",
    type: "v1.billing.meter.no_meter_found",
    created: "2026-11-23T18:00:00.000Z",
    related_object: null,
    ...fields,
  });
}

/** A delivery to the route of thin events, signed with its secret but for what is given. */
export function deliverThin(body: string, delivery: Delivery = {}) {
  const headers = { "stripe-signature": sign(body, THIN_SECRET), ...delivery.headers };
  return deliver(body, { path: THIN_WEBHOOK_PATH, ...delivery, headers });
}

export async function storedIds(): Promise<string[]> {
  const result = await database.pool.query<{ event_id: string }>("SELECT event_id FROM stripe_event ORDER BY event_id");
  return result.rows.map((row) => row.event_id);
}
