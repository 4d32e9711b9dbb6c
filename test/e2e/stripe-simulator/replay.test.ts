// A property: whatever was done to an account, in whatever order and however time went, its journal makes the same account again.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Stripe from "stripe";
import { expect, onTestFinished, test } from "vitest";
import type { StripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { startCheckedSimulator } from "../../support/checked-simulator.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import { createMeter, openStream, START_MS, sdk, v2Event } from "./harness.ts";

const STEPS = 400;

/** One random thing that a client, a test, or time might do. Refusals are part of it. */
async function act(simulator: StripeSimulator, stripe: Stripe, random: () => number, sleep: (ms: number) => void) {
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];
  const customers = (await stripe.customers.list({ limit: 100 })).data.map(({ id }) => id);
  const subscriptions = (await stripe.subscriptions.list({ limit: 100, status: "all" })).data.map(({ id }) => id);
  const invoices = (await stripe.invoices.list({ limit: 100 })).data.map(({ id }) => id);
  const prices = (await stripe.prices.list()).data.map(({ id }) => id);
  const customer = pick(customers) ?? "cus_no";
  const meterEvent = () =>
    stripe.billing.meterEvents.create(
      {
        event_name: "tokens",
        identifier: `id-${Math.floor(random() * 60)}`,
        timestamp: Math.floor(simulator.nowMs() / 1_000 - random() * 4 * 86_400),
        payload: { stripe_customer_id: customer, value: String(Math.floor(random() * 1_000) - 100) },
      },
      { idempotencyKey: `key-${Math.floor(random() * 200)}` },
    );
  const streamed = () => {
    const [ago, name] = [random() * 36 * 86_400_000, random() < 0.1 ? "nothing" : "tokens"];
    return {
      event_name: name,
      identifier: `id-${Math.floor(random() * 60)}`,
      timestamp: new Date(simulator.nowMs() - ago).toISOString(),
      payload: { stripe_customer_id: customer, value: String(Math.floor(random() * 1_000) - 100) },
    };
  };
  const stream = async () => {
    const { authentication_token: token } = await stripe.v2.billing.meterEventSession.create();
    simulator.clearFaults();
    if (random() < 0.3) simulator.addFault({ route: "*", kind: random() < 0.5 ? "dropped" : "rejected", next: 1 });
    const events = Array.from({ length: Math.ceil(random() * 5) }, streamed);
    await sdk(simulator, token).v2.billing.meterEventStream.create({ events });
  };
  const cancel = () => {
    const identifier = `id-${Math.floor(random() * 60)}`;
    return stripe.v2.billing.meterEventAdjustments.create({
      event_name: "tokens",
      type: "cancel",
      cancel: { identifier },
    });
  };
  const actions: readonly (() => unknown)[] = [
    stream,
    stream,
    () => stripe.v2.billing.meterEvents.create(streamed(), { idempotencyKey: `key-${Math.floor(random() * 200)}` }),
    cancel,
    () => simulator.setSettings({ validationDelayMs: Math.floor(random() * 60_000) }),
    () => simulator.setSettings({ rejectedIdentifierKept: random() < 0.5 }),
    meterEvent,
    meterEvent,
    meterEvent,
    meterEvent,
    () => stripe.customers.create({ name: `n${Math.floor(random() * 100)}` }),
    () => stripe.subscriptions.create({ customer, items: [{ price: pick(prices) ?? "price_no" }] }),
    () => stripe.subscriptions.update(pick(subscriptions) ?? "sub_no", { cancel_at_period_end: random() < 0.5 }),
    () => stripe.subscriptions.cancel(pick(subscriptions) ?? "sub_no", { invoice_now: random() < 0.5 }),
    () => stripe.customers.update(customer, { metadata: { at: String(simulator.nowMs()) } }),
    () => random() < 0.2 && stripe.customers.del(customer),
    () => simulator.setPayments(random() < 0.5 ? "fail" : "succeed", customer),
    () => simulator.payInvoice(pick(invoices) ?? "in_no"),
    () => simulator.failInvoice(pick(invoices) ?? "in_no"),
    () => simulator.setSubscriptionStatus(pick(subscriptions) ?? "sub_no", random() < 0.5 ? "paused" : "active"),
    () => simulator.advanceClock(Math.floor(random() * 2 * 86_400_000)),
    () => sleep(Math.floor(random() * 86_400_000)),
    () => sleep(Math.floor(random() * 5_000)),
  ];
  await Promise.resolve(pick(actions)?.()).catch(() => {});
}

test("a replayed journal gives the same state, events and sums", { timeout: 60_000 }, async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  const directory = mkdtempSync(join(tmpdir(), "stripe-simulator-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const dataFile = join(directory, "journal.jsonl");
  let nowMs = START_MS;
  const first = await startCheckedSimulator({
    clock: () => nowMs,
    dataFile,
    settings: { idempotencyKeptMs: 3_600_000 },
  });
  const stripe = sdk(first);
  const meter = await createMeter(stripe, "tokens");
  for (const interval of ["day", "week"] as const) {
    await stripe.prices.create({
      currency: "usd",
      unit_amount: 3,
      product_data: { name: interval },
      recurring: { interval, usage_type: "metered", meter },
    });
  }
  // An invoice and a draft to begin with, so that every seed has something of each kind.
  const [price] = (await stripe.prices.list()).data;
  const { id: customer } = await stripe.customers.create({});
  await stripe.subscriptions.create({ customer, items: [{ price: price?.id ?? "" }] });
  await first.advanceClock(8 * 86_400_000);
  await stripe.webhookEndpoints.create({ url: "http://127.0.0.1:1/", enabled_events: ["invoice.created"] });
  const { send } = await openStream({ simulator: first, stripe });
  await send(v2Event(customer, 5, "streamed"), v2Event("cus_no", 5, "bad"));
  for (let step = 0; step < STEPS; step += 1) {
    await act(first, stripe, random, (ms) => {
      nowMs += ms;
    });
  }
  const accountOf = async (simulator: StripeSimulator) => ({
    ...simulator.state(),
    answered: {},
    // What waits is tried again at once after a restart, and given up if it is old: read while that goes on, it says nothing.
    deliveries: undefined,
    // A restart forgets those in force.
    faults: undefined,
    meterEvents: simulator.meterEvents(),
    thinEvents: (await sdk(simulator).v2.core.events.list({ limit: 100 })).data.map((event) => JSON.stringify(event)),
    events: (await sdk(simulator).events.list({ limit: 100 })).data,
  });
  const before = await accountOf(first);
  await first.close();
  const second = await startCheckedSimulator({ clock: () => nowMs, dataFile });
  expect(before.invoices.length, `SEED=${seed}`).toBeGreaterThan(0);
  expect(before.asynchronous.counted, `SEED=${seed}`).toBeGreaterThan(0);
  expect(before.thinEvents.length, `SEED=${seed}`).toBeGreaterThan(0);
  expect(await accountOf(second), `SEED=${seed}`).toEqual(before);
});
