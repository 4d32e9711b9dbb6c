// Webhooks: signed as the SDK verifies, retried, repeated and reordered as told; and how they hold up an invoice.
import Stripe from "stripe";
import { expect, test } from "vitest";
import { startCheckedSimulator } from "../../support/checked-simulator.ts";
import { createMeter, event, START_MS, sdk, startMetering, startWorld } from "./harness.ts";
import { SECRET, startReceiver } from "./webhook-receiver.ts";

test("an event arrives signed over its raw body, with the object as it was", async () => {
  const receiver = await startReceiver();
  const { stripe, simulator } = await startWorld({
    clock: Date.now,
    webhookEndpoints: [{ url: receiver.url, secret: SECRET }],
  });
  const customer = await stripe.customers.create({ name: "Ada" }, { idempotencyKey: "k" });
  await simulator.webhooksSettled();
  expect(receiver.received).toHaveLength(1);
  const { body, signature } = receiver.received[0] ?? { body: "", signature: "" };
  const verified = stripe.webhooks.constructEvent(body, signature, SECRET);
  expect(verified).toMatchObject({
    object: "event",
    type: "customer.created",
    api_version: Stripe.API_VERSION,
    data: { object: { id: customer.id, name: "Ada" } },
    request: { id: customer.lastResponse.requestId, idempotency_key: "k" },
    pending_webhooks: 1,
  });
  expect(() => stripe.webhooks.constructEvent(body, signature, "whsec_other")).toThrow();
  expect(() => stripe.webhooks.constructEvent(`${body} `, signature, SECRET)).toThrow();
  expect(await stripe.events.retrieve(verified.id)).toMatchObject({ id: verified.id, pending_webhooks: 0 });
});

test("an endpoint created through the API shows its secret once, and gets only the types it named", async () => {
  const receiver = await startReceiver();
  const { stripe, simulator } = await startWorld({ clock: Date.now });
  const endpoint = await stripe.webhookEndpoints.create({ url: receiver.url, enabled_events: ["customer.updated"] });
  expect(endpoint.secret).toMatch(/^whsec_/);
  expect(await stripe.webhookEndpoints.retrieve(endpoint.id)).not.toHaveProperty("secret");
  expect((await stripe.webhookEndpoints.list()).data[0]).not.toHaveProperty("secret");
  const { id } = await stripe.customers.create({ name: "Ada", email: "a@example.com" });
  await stripe.customers.update(id, { name: "Bea" });
  await simulator.webhooksSettled();
  const [{ body, signature } = { body: "", signature: "" }] = receiver.received;
  expect(receiver.types()).toEqual(["customer.updated"]);
  expect(stripe.webhooks.constructEvent(body, signature, endpoint.secret ?? "").data).toMatchObject({
    object: { name: "Bea" },
    previous_attributes: { name: "Ada" },
  });
  await stripe.webhookEndpoints.update(endpoint.id, { disabled: true });
  await stripe.customers.update(id, { name: "Cy" });
  await simulator.webhooksSettled();
  expect(receiver.received).toHaveLength(1);
});

test("anything but 2xx is tried again, later each time, freshly signed, until it is answered", async () => {
  const receiver = await startReceiver([500, 302, 404]);
  const { stripe, simulator } = await startWorld({ webhookEndpoints: [{ url: receiver.url, secret: SECRET }] });
  await stripe.customers.create({});
  await simulator.webhooksSettled();
  expect(receiver.received).toHaveLength(1);
  for (const [waitMs, attempts] of [
    [999, 1],
    [1, 2],
    [1_999, 2],
    [1, 3],
    [4_000, 4],
    [86_400_000, 4],
  ] as const) {
    await simulator.advanceClock(waitMs);
    expect(receiver.received).toHaveLength(attempts);
  }
  expect(new Set(receiver.received.map(({ body }) => (JSON.parse(body) as Stripe.Event).id)).size).toBe(1);
  expect(simulator.deliveryAttempts.map(({ status }) => status)).toEqual([500, 302, 404, 200]);
  expect(simulator.state().deliveries.waiting).toBe(0);
});

test("signatures carry the receiver's time, wherever the simulator's clock was moved", async () => {
  const receiver = await startReceiver();
  const { stripe, simulator } = await startWorld({
    clock: Date.now,
    webhookEndpoints: [{ url: receiver.url, secret: SECRET }],
  });
  await simulator.advanceClock(400 * 86_400_000);
  await stripe.customers.create({});
  await simulator.webhooksSettled();
  const signedAt = Number(/^t=(\d+),/.exec(receiver.received[0]?.signature ?? "")?.[1]);
  expect(Math.abs(signedAt - Date.now() / 1_000)).toBeLessThan(60);
});

test("an endpoint that nobody listens on is given up after three days", async () => {
  const { stripe, simulator } = await startWorld({
    webhookEndpoints: [{ url: "http://127.0.0.1:1/closed", secret: SECRET }],
  });
  await stripe.customers.create({});
  await simulator.webhooksSettled();
  for (let hour = 0; hour < 73; hour += 1) await simulator.advanceClock(3_600_000);
  expect(simulator.state().deliveries.waiting).toBe(0);
  expect(simulator.deliveryAttempts.length).toBeGreaterThan(60);
  expect((await stripe.events.list()).data[0]?.pending_webhooks).toBe(1);
});

test("events can be repeated, held back, and released in another order", async () => {
  const receiver = await startReceiver();
  const { stripe, simulator } = await startWorld({ webhookEndpoints: [{ url: receiver.url, secret: SECRET }] });
  simulator.configureWebhooks({ copies: 2, hold: true });
  const { id } = await stripe.customers.create({ name: "Ada" });
  await stripe.customers.update(id, { name: "Bea" });
  await stripe.customers.del(id);
  await simulator.webhooksSettled();
  expect(receiver.received).toEqual([]);
  await simulator.releaseWebhooks("reversed");
  const expected = ["customer.deleted", "customer.updated", "customer.created"].flatMap((type) => [type, type]);
  expect(receiver.types()).toEqual(expected);
  const [created] = (await stripe.events.list({ type: "customer.created" })).data;
  expect(await simulator.resendEvent(created?.id ?? "")).toEqual([200]);
  expect(receiver.types().at(-1)).toBe("customer.created");
});

async function startRenewing(statuses: number[]) {
  const receiver = await startReceiver(statuses);
  const world = await startMetering();
  const { stripe, customer, meter, simulator } = world;
  const price = await stripe.prices.create({
    currency: "usd",
    unit_amount: 1,
    product_data: { name: "Tokens" },
    recurring: { interval: "month", usage_type: "metered", meter },
  });
  const subscription = await stripe.subscriptions.create({ customer, items: [{ price: price.id }] });
  await stripe.webhookEndpoints.create({ url: receiver.url, enabled_events: ["invoice.created"] });
  const endMs = (subscription.items.data[0]?.current_period_end ?? 0) * 1_000;
  await stripe.billing.meterEvents.create(event(customer, 5));
  await simulator.setClock(endMs);
  const invoice = async () => (await stripe.invoices.list({ customer })).data[0];
  return { ...world, receiver, endMs, invoice };
}

test("an invoice finalizes an hour after invoice.created was answered", async () => {
  const { simulator, receiver, endMs, invoice } = await startRenewing(Array.from({ length: 12 }, () => 500));
  expect(receiver.types()).toEqual(["invoice.created"]);
  // Twelve retries, each after twice the wait of the last, from a second on.
  const answered = endMs / 1_000 + 4_095;
  await simulator.setClock(answered * 1_000 - 1);
  expect(await invoice()).toMatchObject({
    status: "draft",
    webhooks_delivered_at: null,
    automatically_finalizes_at: endMs / 1_000 + 3_600,
  });
  await simulator.setClock(answered * 1_000 + 3_600_000 - 1);
  expect(receiver.received).toHaveLength(13);
  expect(await invoice()).toMatchObject({
    status: "draft",
    webhooks_delivered_at: answered,
    automatically_finalizes_at: answered + 3_600,
  });
  await simulator.advanceClock(1);
  expect((await invoice())?.status).toBe("paid");
});

test("unanswered, it finalizes 72 hours after its creation", async () => {
  const { simulator, endMs, invoice } = await startRenewing(Array.from({ length: 200 }, () => 500));
  await simulator.setClock(endMs + 72 * 3_600_000 - 1);
  expect((await invoice())?.status).toBe("draft");
  await simulator.advanceClock(1);
  expect((await invoice())?.status).toBe("paid");
});

test("time alone renews, finalizes and delivers, without any request", async () => {
  const receiver = await startReceiver();
  let nowMs = START_MS;
  const simulator = await startCheckedSimulator({
    clock: () => nowMs,
    webhookEndpoints: [{ url: receiver.url, secret: SECRET, enabledEvents: ["invoice.created", "invoice.paid"] }],
  });
  const stripe = sdk(simulator);
  const meter = await createMeter(stripe, "tokens");
  const { id: customer } = await stripe.customers.create({});
  const price = await stripe.prices.create({
    currency: "usd",
    unit_amount: 1,
    product_data: { name: "Tokens" },
    recurring: { interval: "day", usage_type: "metered", meter },
  });
  await stripe.subscriptions.create({ customer, items: [{ price: price.id }] });
  nowMs += 86_400_000;
  await expect.poll(receiver.types, { timeout: 5_000 }).toEqual(["invoice.created"]);
  await simulator.webhooksSettled();
  nowMs += 3_600_000;
  await expect.poll(receiver.types, { timeout: 5_000 }).toEqual(["invoice.created", "invoice.paid"]);
});
