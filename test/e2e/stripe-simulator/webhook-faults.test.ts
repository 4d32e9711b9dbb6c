// What may go wrong with deliveries on Stripe's side: two events of one happening, late ones, lost attempts, rolled secrets.
import Stripe from "stripe";
import { expect, test } from "vitest";
import { raw, START_MS, startSubscribed, startWorld } from "./harness.ts";
import { SECRET, startReceiver } from "./webhook-receiver.ts";

const HOUR = 3_600_000;

async function startListening(statuses: number[] = [], clock = () => START_MS, seed = "test") {
  const receiver = await startReceiver(statuses);
  const world = await startWorld({ clock, seed, webhookEndpoints: [{ url: receiver.url, secret: SECRET }] });
  return { ...world, receiver };
}

test("one happening can make two events, each with an id of its own, both delivered and listed", async () => {
  const { stripe, simulator, receiver } = await startListening();
  await simulator.setSettings({ twinEventRate: 1 });
  const { id } = await stripe.customers.create({ name: "Ada" });
  await simulator.webhooksSettled();
  expect(receiver.types()).toEqual(["customer.created", "customer.created"]);
  expect(new Set(receiver.ids()).size).toBe(2);
  const { data } = await stripe.events.list();
  expect(data.map(({ data: { object } }) => (object as Stripe.Customer).id)).toEqual([id, id]);
  expect(data.map((event) => event.id).sort()).toEqual(receiver.ids().sort());
  expect(data[0]?.data).toEqual(data[1]?.data);
});

test("a share of happenings is doubled, the same at every run of a seed", async () => {
  const types = async (seed: string) => {
    const { stripe, simulator, receiver } = await startListening([], undefined, seed);
    await simulator.setSettings({ twinEventRate: 0.5 });
    for (let i = 0; i < 40; i += 1) await stripe.customers.create({ name: `${i}` });
    await simulator.webhooksSettled();
    return receiver.ids();
  };
  const first = await types("a");
  expect(first.length).toBeGreaterThan(45);
  expect(first.length).toBeLessThan(75);
  expect((await types("a")).sort()).toEqual(first.sort());
});

test("a second event of an invoice's creation, answered later, does not put off its finalization", async () => {
  const receiver = await startReceiver([200, ...Array.from({ length: 11 }, () => 500)]);
  const { stripe, simulator, customer, subscription } = await startSubscribed();
  await stripe.webhookEndpoints.create({ url: receiver.url, enabled_events: ["invoice.created"] });
  await simulator.setSettings({ twinEventRate: 1 });
  const endMs = (subscription.items.data[0]?.current_period_end ?? 0) * 1_000;
  await simulator.setClock(endMs + HOUR - 1);
  expect(new Set(receiver.ids()).size).toBe(2);
  expect(receiver.received).toHaveLength(13);
  const [draft] = (await stripe.invoices.list({ customer })).data;
  expect(draft).toMatchObject({ status: "draft", webhooks_delivered_at: endMs / 1_000 });
  await simulator.advanceClock(1);
  expect((await stripe.invoices.list({ customer })).data[0]?.status).toBe("paid");
});

test("late events are overtaken, arrive within the time set, and none is lost", async () => {
  const { stripe, simulator, receiver } = await startListening();
  simulator.configureWebhooks({ delayRate: 0.5, delayMaxMs: HOUR });
  for (let i = 0; i < 40; i += 1) await stripe.customers.create({ name: `${i}` });
  const created = (await stripe.events.list({ limit: 100 })).data.map(({ id }) => id).reverse();
  await simulator.webhooksSettled();
  const prompt = receiver.received.length;
  expect(prompt).toBeGreaterThan(8);
  expect(prompt).toBeLessThan(32);
  await simulator.advanceClock(HOUR / 2);
  expect(receiver.received.length).toBeGreaterThan(prompt);
  expect(receiver.received.length).toBeLessThan(40);
  await simulator.advanceClock(HOUR / 2);
  expect(receiver.ids()).not.toEqual(created);
  expect(receiver.ids().sort()).toEqual(created.sort());
  // Each at its own time, as the clock was moved past it.
  const times = simulator.deliveryAttempts.map(({ atMs }) => atMs);
  expect(new Set(times).size).toBe(40 - prompt + 1);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
});

test("attempts that get lost on Stripe's side are made up for by later ones", async () => {
  const { stripe, simulator, receiver } = await startListening();
  simulator.configureWebhooks({ failureRate: 0.5 });
  for (let i = 0; i < 20; i += 1) await stripe.customers.create({ name: `${i}` });
  await simulator.webhooksSettled();
  expect(receiver.received.length).toBeGreaterThan(2);
  expect(receiver.received.length).toBeLessThan(18);
  await simulator.advanceClock(HOUR);
  expect(new Set(receiver.ids()).size).toBe(20);
  expect(receiver.received).toHaveLength(20);
  expect(simulator.deliveryAttempts.length).toBeGreaterThan(22);
});

test("in a sandbox, Stripe tries three times more over a few hours, then never again", async () => {
  const { stripe, simulator, receiver } = await startListening(Array.from({ length: 99 }, () => 500));
  await simulator.setSettings({ webhookRetries: "sandbox" });
  await stripe.customers.create({});
  await simulator.webhooksSettled();
  await simulator.advanceClock(72 * HOUR);
  expect(simulator.deliveryAttempts.map(({ atMs }) => (atMs - START_MS) / 60_000)).toEqual([0, 20, 80, 200]);
  expect(receiver.received).toHaveLength(4);
  expect(simulator.state().deliveries.waiting).toBe(0);
  const [event] = (await stripe.events.list()).data;
  expect(event?.pending_webhooks).toBe(1);
  expect(await simulator.resendEvent(event?.id ?? "")).toEqual([500]);
});

test("once Stripe has given up on invoice.created, it waits for nobody", async () => {
  const receiver = await startReceiver(Array.from({ length: 99 }, () => 500));
  const { stripe, simulator, customer, subscription } = await startSubscribed();
  await stripe.webhookEndpoints.create({ url: receiver.url, enabled_events: ["invoice.created"] });
  await simulator.setSettings({ webhookRetries: "sandbox" });
  const endMs = (subscription.items.data[0]?.current_period_end ?? 0) * 1_000;
  const status = async () => (await stripe.invoices.list({ customer })).data[0]?.status;
  await simulator.setClock(endMs + 200 * 60_000 - 1);
  expect(await status()).toBe("draft");
  await simulator.advanceClock(1);
  expect(receiver.received).toHaveLength(4);
  expect(await status()).toBe("paid");
});

test("while a secret is rolled both sign, for the time asked; then the new one alone", async () => {
  let nowMs = Date.now();
  const { stripe, simulator, receiver } = await startListening([], () => nowMs);
  const other = "whsec_the_next_one";
  const verifies = (secret: string) => {
    const { body, signature } = receiver.received.at(-1) ?? { body: "", signature: "" };
    try {
      return stripe.webhooks.constructEvent(body, signature, secret).type;
    } catch (error) {
      if (error instanceof Stripe.errors.StripeSignatureVerificationError) return "refused";
      throw error;
    }
  };
  const [endpoint] = (await stripe.webhookEndpoints.list()).data;
  const rolled = await raw(
    simulator,
    "POST",
    `/_simulator/webhook_endpoints/${endpoint?.id}/roll_secret`,
    JSON.stringify({ secret: other, keep_ms: HOUR }),
  );
  expect(rolled.body).toMatchObject({ id: endpoint?.id, secret: other });
  const send = async () => {
    await stripe.customers.create({});
    await simulator.webhooksSettled();
    return [verifies(SECRET), verifies(other), receiver.received.at(-1)?.signature.match(/v1=/g)?.length];
  };
  expect(await send()).toEqual(["customer.created", "customer.created", 2]);
  nowMs += HOUR - 1_000;
  await simulator.advanceClock(0);
  expect(await send()).toEqual(["customer.created", "customer.created", 2]);
  nowMs += 1_000;
  expect(await send()).toEqual(["refused", "customer.created", 1]);
  const { secret } = await simulator.rollWebhookSecret(endpoint?.id ?? "", { keepMs: 0 });
  await stripe.customers.create({});
  await simulator.webhooksSettled();
  expect([verifies(other), verifies(secret)]).toEqual(["refused", "customer.created"]);
});

test("how deliveries go wrong is set and read over HTTP, and a wrong wish is named", async () => {
  const { simulator } = await startWorld();
  const post = (body: object) => raw(simulator, "POST", "/_simulator/webhooks", JSON.stringify(body));
  await post({ delayRate: 0.25 });
  expect((await post({ failureRate: 0.5, delayMaxMs: 5_000 })).body).toEqual({
    copies: 1,
    hold: false,
    delayRate: 0.25,
    delayMaxMs: 5_000,
    failureRate: 0.5,
  });
  expect(await post({ failureRate: 2 })).toMatchObject({ status: 400 });
  expect(
    await raw(simulator, "POST", "/_simulator/webhook_endpoints/we_no/roll_secret", JSON.stringify({})),
  ).toMatchObject({ status: 404 });
});
