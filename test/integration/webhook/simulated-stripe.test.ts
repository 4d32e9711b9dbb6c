// Webhooks as Stripe sends them: the simulator delivers, the worker reads back through the official SDK.
import { randomUUID } from "node:crypto";
import type Stripe from "stripe";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { readAccount } from "../../../src/postgres/accounts.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeObjects } from "../../../src/stripe/objects.ts";
import type { StripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { startCheckedSimulator } from "../../support/checked-simulator.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import {
  accountState,
  type Objects,
  SECRET,
  SHARDS,
  settled,
  startWebhookService,
  THIN_SECRET,
  type WebhookService,
} from "./webhook-service.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const GRACE = 72 * HOUR;
const logger = { debug() {}, info() {}, warn() {}, error() {} };

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
});
afterAll(() => database.close());
beforeEach(() => database.pool.query("TRUNCATE stripe_event, subscription, invoice, invoiced_period, period_boundary"));

async function startSimulator(endpoint?: string): Promise<{ simulator: StripeSimulator; stripe: Stripe }> {
  const webhookEndpoints = endpoint === undefined ? [] : [{ url: endpoint, secret: SECRET }];
  const simulator = await startCheckedSimulator({ webhookEndpoints });
  const apiBase = new URL(simulator.url);
  const stripe = openStripe({ secretKey: "sk_test_x", apiBase, maxSockets: 20, timeoutMs: 10_000 });
  return { simulator, stripe };
}

/** A new customer with a monthly metered subscription and some usage, so that there is something to pay. */
async function subscribe(stripe: Stripe): Promise<{ customer: string; subscription: string }> {
  const event_name = `tokens_${randomUUID()}`;
  const default_aggregation = { formula: "sum" } as const;
  const meter = await stripe.billing.meters.create({ display_name: "tokens", event_name, default_aggregation });
  const price = await stripe.prices.create({
    currency: "usd",
    unit_amount: 1,
    product_data: { name: "tokens" },
    recurring: { interval: "month", usage_type: "metered", meter: meter.id },
  });
  const customer = await stripe.customers.create({});
  const subscription = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] });
  await stripe.billing.meterEvents.create({ event_name, payload: { stripe_customer_id: customer.id, value: "100" } });
  return { customer: customer.id, subscription: subscription.id };
}

/** One delivery, signed as Stripe signs. */
async function deliver(service: WebhookService, stripe: Stripe, event: Stripe.Event): Promise<void> {
  const body = JSON.stringify(event);
  const headers = {
    "content-type": "application/json",
    "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret: SECRET }),
  };
  const response = await fetch(service.url, { method: "POST", headers, body });
  expect(response.status).toBe(200);
}

async function allEvents(stripe: Stripe): Promise<Stripe.Event[]> {
  const events = await stripe.events.list({ limit: 100 }).autoPagingToArray({ limit: 10_000 });
  return events.reverse();
}

test("a subscription's life, each event delivered by the simulator as it happens", async () => {
  // Each needs the other's address: the service reads through what is set once the simulator listens.
  let objects: Objects | undefined;
  const reading = () => objects ?? expect.unreachable("an event came before Stripe was there");
  const service = await startWebhookService(database.pool, {
    subscription: (id, signal) => reading().subscription(id, signal),
    invoice: (id, signal) => reading().invoice(id, signal),
    customer: (id, signal) => reading().customer(id, signal),
  });
  const { simulator, stripe } = await startSimulator(service.url);
  objects = stripeObjects(stripe, logger);
  service.run();
  const { customer, subscription } = await subscribe(stripe);
  const catchUp = async () => {
    await simulator.webhooksSettled();
    await settled(database.pool);
  };
  const account = (nowMs = simulator.nowMs()) => readAccount(database.pool, customer, nowMs, GRACE);

  await catchUp();
  const item = (await stripe.subscriptions.retrieve(subscription)).items.data[0];
  const periodEndMs = (item?.current_period_end ?? 0) * 1000;
  expect(await account()).toEqual({
    subscriptionStatus: "active",
    entitled: true,
    billingPeriod: { startMs: (item?.current_period_start ?? 0) * 1000, endMs: periodEndMs },
  });
  expect(service.flushed).toEqual([]);

  // The period ends: a draft invoice, and a flush while it is open.
  await simulator.setPayments("fail");
  await simulator.setClock(periodEndMs + 60_000);
  await catchUp();
  expect(service.flushed).toEqual([customer]);
  expect((await account()).billingPeriod?.startMs).toBe(periodEndMs);
  const invoiced = async () => (await database.pool.query("SELECT * FROM invoiced_period")).rows;
  const periodOf = { stripe_customer_id: customer, period_end: new Date(periodEndMs) };
  expect(await invoiced()).toMatchObject([{ ...periodOf, billed: null }]);
  const known = await database.pool.query<{ finalizes_at: Date }>("SELECT finalizes_at FROM invoice");
  const finalizesMs = known.rows[0]?.finalizes_at.getTime() ?? 0;
  expect(finalizesMs).toBeGreaterThanOrEqual(periodEndMs + HOUR);

  // Finalized, and the payment fails: past due, entitled for the grace.
  await simulator.advanceClock(2 * HOUR);
  await catchUp();
  const [invoice] = (await stripe.invoices.list({ customer })).data;
  const failed = (await allEvents(stripe)).find((e) => e.type === "invoice.payment_failed");
  const failedMs = (failed?.created ?? 0) * 1000;
  expect(await account(failedMs + GRACE - 1)).toMatchObject({ subscriptionStatus: "past_due", entitled: true });
  expect(await account(failedMs + GRACE)).toMatchObject({ subscriptionStatus: "past_due", entitled: false });

  expect(await invoiced()).toMatchObject([{ ...periodOf, billed: "100" }]);

  // Paid after all.
  await simulator.setPayments("succeed");
  await simulator.payInvoice(invoice?.id ?? "");
  await catchUp();
  expect(await account(failedMs + GRACE)).toMatchObject({ subscriptionStatus: "active", entitled: true });

  // Canceled in the middle of a period: its end is a boundary.
  await simulator.advanceClock(3 * DAY);
  await stripe.subscriptions.cancel(subscription);
  await catchUp();
  expect(await account()).toEqual({ subscriptionStatus: "canceled", entitled: false, billingPeriod: undefined });
  const endedMs = ((await stripe.subscriptions.retrieve(subscription)).ended_at ?? 0) * 1000;
  const boundaries = await database.pool.query("SELECT boundary FROM period_boundary WHERE customer_id = $1", [
    customer,
  ]);
  expect(boundaries.rows.map((row) => row.boundary.getTime())).toContain(endedMs);
});

test("any permutation and repetition of the same deliveries ends in the same account state", async () => {
  const { simulator, stripe } = await startSimulator();
  // Three customers with different fates.
  const paying = await subscribe(stripe);
  const failing = await subscribe(stripe);
  const leaving = await subscribe(stripe);
  await simulator.setPayments("fail", failing.customer);
  await simulator.advanceClock(32 * DAY);
  await stripe.subscriptions.cancel(leaving.subscription);
  await simulator.advanceClock(3 * HOUR);
  const events = await allEvents(stripe);
  expect(events.filter((e) => e.type === "invoice.payment_failed").length).toBeGreaterThan(0);

  const seed = pickSeed();
  const random = randomFrom(seed);
  /** Delivers to two processes at once, whose workers share the inbox. */
  const stateAfter = async (deliveries: readonly Stripe.Event[]) => {
    await database.pool.query("TRUNCATE stripe_event, subscription, invoice, invoiced_period, period_boundary");
    const services = [
      await startWebhookService(database.pool, stripeObjects(stripe, logger)),
      await startWebhookService(database.connect(), stripeObjects(stripe, logger)),
    ];
    for (const service of services) service.run();
    await Promise.all(
      deliveries.map((event) => deliver(services[Math.floor(random() * 2)] as WebhookService, stripe, event)),
    );
    await settled(database.pool);
    for (const service of services) await service.close();
    const flushed = new Set(services.flatMap((s) => s.flushed));
    return { ...(await accountState(database.pool)), flushed: [...flushed].sort() };
  };

  const inOrder = await stateAfter(events);
  expect(inOrder).toMatchObject({
    flushed: [paying.customer, failing.customer, leaving.customer].sort(),
    subscriptions: expect.arrayContaining([
      expect.objectContaining({ subscription_id: paying.subscription, status: "active" }),
      expect.objectContaining({ subscription_id: failing.subscription, status: "past_due" }),
      expect.objectContaining({ subscription_id: leaving.subscription, status: "canceled" }),
    ]),
  });
  for (let run = 0; run < 6; run++) {
    const repeated = [...events, ...events.filter(() => random() < 0.5), ...events.filter(() => random() < 0.2)];
    const shuffled = repeated
      .map((event) => ({ event, key: random() }))
      .sort((a, b) => a.key - b.key)
      .map(({ event }) => event);
    expect(await stateAfter(shuffled), `SEED=${seed} run ${run}`).toEqual(inOrder);
  }
});

test("a customer's metadata maps it; deleted, it entitles nothing, and its usage is still its own", async () => {
  let objects: Objects | undefined;
  const reading = () => objects ?? expect.unreachable("an event came before Stripe was there");
  const service = await startWebhookService(database.pool, {
    customer: (id, signal) => reading().customer(id, signal),
    subscription: (id, signal) => reading().subscription(id, signal),
    invoice: (id, signal) => reading().invoice(id, signal),
  });
  const { simulator, stripe } = await startSimulator(service.url);
  objects = stripeObjects(stripe, logger);
  service.run();
  const catchUp = async () => {
    await simulator.webhooksSettled();
    await settled(database.pool);
  };
  const { customer, subscription } = await subscribe(stripe);
  await catchUp();
  await stripe.customers.update(customer, { metadata: { metering_customer_id: "acme" } });
  await catchUp();
  const account = () => readAccount(database.pool, "acme", simulator.nowMs(), GRACE);
  expect(await account()).toMatchObject({ subscriptionStatus: "active", entitled: true });
  const boundaries = "SELECT boundary FROM period_boundary WHERE customer_id = $1 ORDER BY 1";
  const [own, mapped] = [
    await database.pool.query(boundaries, [customer]),
    await database.pool.query(boundaries, ["acme"]),
  ];
  expect(mapped.rows).toEqual(own.rows);
  expect(mapped.rows).toHaveLength(2);

  await stripe.customers.del(customer);
  await simulator.webhooksSettled();
  // The subscription's own end was not heard of.
  await database.pool.query(
    "DELETE FROM stripe_event WHERE type = 'customer.subscription.deleted' AND state = 'received'",
  );
  await settled(database.pool);
  expect(await account()).toMatchObject({ subscriptionStatus: "canceled", entitled: false });
  expect((await database.pool.query("SELECT customer_id, stripe_customer_id FROM account")).rows).toEqual([
    { customer_id: "acme", stripe_customer_id: customer },
  ]);
  expect((await stripe.subscriptions.retrieve(subscription)).status).toBe("canceled");
});

test("events that are heard of three periods late: every boundary is known all the same, by the invoices", async () => {
  const { simulator, stripe } = await startSimulator();
  const { customer, subscription } = await subscribe(stripe);
  const ends: number[] = [];
  for (let period = 0; period < 3; period++) {
    const item = (await stripe.subscriptions.retrieve(subscription)).items.data[0];
    if (period === 0) ends.push((item?.current_period_start ?? 0) * 1000);
    ends.push((item?.current_period_end ?? 0) * 1000);
    await simulator.setClock((item?.current_period_end ?? 0) * 1000 + 3 * HOUR);
  }
  const service = await startWebhookService(database.pool, stripeObjects(stripe, logger));
  for (const event of await allEvents(stripe)) await deliver(service, stripe, event);
  while ((await service.worker.applyDue(new AbortController().signal)) > 0);
  const { rows } = await database.pool.query(
    "SELECT boundary FROM period_boundary WHERE customer_id = $1 ORDER BY 1 LIMIT 4",
    [customer],
  );
  expect(rows.map((row) => row.boundary.getTime())).toEqual(ends);
});

test("the stream threw an event away: the simulator says so by a thin event, and the report is held", async () => {
  let objects: Objects | undefined;
  const reading = () => objects ?? expect.unreachable("an event came before Stripe was there");
  const service = await startWebhookService(database.pool, {
    meterErrorReport: (id, signal) => reading().meterErrorReport(id, signal),
  });
  service.run();
  const webhookEndpoints = [{ url: service.thinUrl, secret: THIN_SECRET, payload: "thin" } as const];
  const simulator = await startCheckedSimulator({ webhookEndpoints });
  onTestFinished(() => simulator.close());
  const open = (secretKey: string) =>
    openStripe({ secretKey, apiBase: new URL(simulator.url), maxSockets: 2, timeoutMs: 10_000 });
  const stripe = open("sk_test_x");
  objects = stripeObjects(stripe, logger);
  const default_aggregation = { formula: "sum" } as const;
  await stripe.billing.meters.create({ display_name: "tokens", event_name: "tokens", default_aggregation });
  const customer = await stripe.customers.create({});
  await database.pool.query(
    `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, state,
       settled_at, first_attempt_at, lease_epoch)
     SELECT id, id, 'cus_1', event_name, now(), 0, 5, now(), 'sent', now(), now(), 1
     FROM (VALUES ('good', 'tokens'), ('bad', 'tokens'), ('lost', 'nothing')) AS r(id, event_name)`,
  );

  const { authentication_token } = await stripe.v2.billing.meterEventSession.create();
  const payload = (stripe_customer_id: string) => ({ stripe_customer_id, value: "5" });
  const events = [
    { event_name: "tokens", identifier: "good", payload: payload(customer.id) },
    { event_name: "tokens", identifier: "bad", payload: payload("cus_nobody") },
    { event_name: "nothing", identifier: "lost", payload: payload(customer.id) },
  ];
  await open(authentication_token).v2.billing.meterEventStream.create({ events });
  await simulator.advanceClock(13_000);
  await simulator.webhooksSettled();
  await settled(database.pool);

  const { rows } = await database.pool.query("SELECT identifier, state, reason, message FROM report ORDER BY 1");
  expect(rows).toEqual([
    { identifier: "bad", state: "held", reason: "meter_event_customer_not_found", message: expect.any(String) },
    { identifier: "good", state: "sent", reason: "", message: "" },
    { identifier: "lost", state: "held", reason: "no_meter", message: expect.stringContaining("nothing") },
  ]);
  const compared = await database.pool.query("SELECT DISTINCT event_name FROM reconcile_request ORDER BY 1");
  expect(compared.rows).toEqual([{ event_name: "nothing" }, { event_name: "tokens" }]);
});

test("an object that Stripe does not know: applied, with nothing", async () => {
  const { stripe } = await startSimulator();
  const service = await startWebhookService(database.pool, stripeObjects(stripe, logger));
  for (const [type, id] of [
    ["customer.subscription.deleted", "sub_gone"],
    ["invoice.created", "in_gone"],
    ["invoice.payment_failed", "in_gone"],
  ]) {
    const event = {
      id: `evt_${type}`.replaceAll(".", "_"),
      object: "event",
      type,
      created: 1,
      data: { object: { id } },
    };
    await deliver(service, stripe, event as unknown as Stripe.Event);
  }
  while ((await service.worker.applyDue(new AbortController().signal)) > 0);
  const { rows } = await database.pool.query("SELECT DISTINCT state, last_error FROM stripe_event");
  expect(rows).toEqual([{ state: "applied", last_error: "" }]);
  expect(await accountState(database.pool)).toEqual({ subscriptions: [], invoices: [], periods: [], boundaries: [] });
});
