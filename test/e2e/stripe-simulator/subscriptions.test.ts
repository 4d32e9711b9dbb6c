// Subscriptions: their periods, and how they end.
import type Stripe from "stripe";
import { describe, expect, test } from "vitest";
import { event, eventTypes, period, refusal, START, START_MS, seconds, startSubscribed } from "./harness.ts";

const HOUR_MS = 3_600_000;
const DAY = 86_400;

async function renewalOf(stripe: Stripe, subscription: string): Promise<number> {
  return period(await stripe.subscriptions.retrieve(subscription))[1] ?? 0;
}

describe("subscriptions", () => {
  test("have their periods on the items, from now to the same time next month", async () => {
    const { subscription, stripe } = await startSubscribed();
    expect(subscription).toMatchObject({ status: "active", start_date: START, billing_cycle_anchor: START });
    expect(period(subscription)).toEqual([START, seconds("2026-04-10T12:00:00Z")]);
    expect(subscription).not.toHaveProperty("current_period_end");
    expect(subscription.items.data[0]).not.toHaveProperty("quantity");
    expect((await stripe.invoices.list({ subscription: subscription.id })).data).toEqual([]);
  });

  test("with an anchor, the first period is short; then months are counted from it", async () => {
    const anchor = seconds("2026-03-31T23:59:57Z");
    const { subscription, stripe, simulator } = await startSubscribed({ billing_cycle_anchor: anchor });
    expect(period(subscription)).toEqual([START, anchor]);
    await simulator.setClock(anchor * 1_000);
    expect(period(await stripe.subscriptions.retrieve(subscription.id))).toEqual([
      anchor,
      seconds("2026-04-30T23:59:57Z"),
    ]);
    await simulator.setClock(seconds("2026-05-01T00:00:00Z") * 1_000);
    expect(period(await stripe.subscriptions.retrieve(subscription.id))).toEqual([
      seconds("2026-04-30T23:59:57Z"),
      seconds("2026-05-31T23:59:57Z"),
    ]);
  });

  test("anchored to a day and time, down to the second, periods meet there; usage on the boundary is the later one's", async () => {
    const { subscription, stripe, simulator, customer } = await startSubscribed({
      billing_cycle_anchor_config: { day_of_month: 31, hour: 4, minute: 5, second: 57 },
    });
    expect(subscription.billing_cycle_anchor_config).toEqual({
      day_of_month: 31,
      month: null,
      hour: 4,
      minute: 5,
      second: 57,
    });
    const boundaries = ["2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"].map((day) =>
      seconds(`${day}T04:05:57Z`),
    );
    for (const [index, boundary] of boundaries.entries()) {
      await simulator.setClock((boundary + 60) * 1_000);
      await stripe.billing.meterEvents.create(event(customer, 10 ** index, undefined, boundary - 1));
      await stripe.billing.meterEvents.create(event(customer, 5 * 10 ** index, undefined, boundary));
    }
    await simulator.advanceClock(2 * HOUR_MS);
    const invoices = (await stripe.invoices.list({ subscription: subscription.id })).data.reverse();
    expect(invoices.map(({ lines }) => [lines.data[0]?.period, lines.data[0]?.quantity])).toEqual([
      [{ start: START, end: boundaries[0] }, 1],
      [{ start: boundaries[0], end: boundaries[1] }, 5 + 10],
      [{ start: boundaries[1], end: boundaries[2] }, 50 + 100],
      [{ start: boundaries[2], end: boundaries[3] }, 500 + 1_000],
    ]);
  });

  test("an anchor's day and time must be possible, and the only anchor", async () => {
    const { stripe, customer, price } = await startSubscribed();
    const create = (more: Partial<Stripe.SubscriptionCreateParams>) =>
      refusal(stripe.subscriptions.create({ customer, items: [{ price: price.id }], ...more }));
    expect(await create({ billing_cycle_anchor_config: { day_of_month: 32 } })).toMatchObject({ status: 400 });
    expect(
      await create({ billing_cycle_anchor_config: { day_of_month: 31 }, billing_cycle_anchor: START + DAY }),
    ).toMatchObject({ status: 400 });
  });

  test("an anchor in the past, or past the next natural date, is refused", async () => {
    const { stripe, customer, price } = await startSubscribed();
    for (const billing_cycle_anchor of [START, START + 32 * DAY]) {
      const create = stripe.subscriptions.create({ customer, items: [{ price: price.id }], billing_cycle_anchor });
      expect(await refusal(create)).toMatchObject({ status: 400 });
    }
  });

  test("a backdated one bills what was used before on a first invoice, at once", async () => {
    const { stripe, customer, price } = await startSubscribed();
    await stripe.billing.meterEvents.create(event(customer, 100, undefined, START - 2 * DAY));
    await stripe.billing.meterEvents.create(event(customer, 1_000, undefined, START - 9 * DAY));
    const backdated = await stripe.subscriptions.create({
      customer,
      items: [{ price: price.id }],
      backdate_start_date: START - 7 * DAY,
    });
    expect(backdated).toMatchObject({ start_date: START - 7 * DAY, billing_cycle_anchor: START });
    expect((await stripe.invoices.list({ subscription: backdated.id })).data).toMatchObject([
      { status: "paid", billing_reason: "subscription_create", total: 50 },
    ]);
  });

  test("in classic mode, what was used before a backdated start waits for the first renewal", async () => {
    const { stripe, simulator, customer, price } = await startSubscribed();
    await stripe.billing.meterEvents.create(event(customer, 100, undefined, START - 2 * DAY));
    const start = START - 7 * DAY - 13;
    const backdated = await stripe.subscriptions.create({
      customer,
      items: [{ price: price.id }],
      backdate_start_date: start,
      billing_mode: { type: "classic" },
    });
    expect(period(backdated)).toEqual([START, seconds("2026-04-10T12:00:00Z")]);
    expect((await stripe.invoices.list({ subscription: backdated.id })).data).toEqual([]);
    await stripe.billing.meterEvents.create(event(customer, 11));
    for (const quantities of [[111], [111, 0]]) {
      await simulator.setClock(((await renewalOf(stripe, backdated.id)) + 3_600) * 1_000);
      const invoices = (await stripe.invoices.list({ subscription: backdated.id })).data.reverse();
      expect(invoices.map(({ lines }) => lines.data[0]?.quantity)).toEqual(quantities);
      expect(invoices[0]?.lines.data[0]?.period).toEqual({ start, end: seconds("2026-04-10T12:00:00Z") });
    }
  });

  test("a trial has no fee and becomes active at its end", async () => {
    const { stripe, simulator, subscription } = await startSubscribed({ trial_period_days: 7 });
    expect(subscription).toMatchObject({ status: "trialing", trial_end: START + 7 * DAY });
    expect(period(subscription)).toEqual([START, START + 7 * DAY]);
    await simulator.setClock(START_MS + 7 * DAY * 1_000);
    expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe("active");
  });

  test("end with their period if told to, with a last invoice for its usage", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    await stripe.billing.meterEvents.create(event(customer, 10));
    const ending = await stripe.subscriptions.update(subscription.id, { cancel_at_period_end: true });
    expect(ending).toMatchObject({ status: "active", cancel_at_period_end: true, cancel_at: period(subscription)[1] });
    await simulator.setClock((period(subscription)[1] ?? 0) * 1_000);
    expect(await stripe.subscriptions.retrieve(subscription.id)).toMatchObject({
      status: "canceled",
      ended_at: period(subscription)[1],
    });
    await simulator.advanceClock(HOUR_MS);
    expect((await stripe.invoices.list({ customer })).data).toMatchObject([{ status: "paid", total: 5 }]);
    expect(await eventTypes(stripe)).toContain("customer.subscription.deleted");
    await simulator.advanceClock(60 * DAY * 1_000);
    expect((await stripe.invoices.list({ customer })).data).toHaveLength(1);
  });

  test("end at cancel_at, within a period, with a last invoice for what was used until then", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    const end = START + 5 * DAY + 1;
    await stripe.subscriptions.update(subscription.id, { cancel_at: end });
    await simulator.setClock(end * 1_000);
    await stripe.billing.meterEvents.create(event(customer, 10, undefined, end - 1));
    await stripe.billing.meterEvents.create(event(customer, 400, undefined, end));
    expect(await stripe.subscriptions.retrieve(subscription.id)).toMatchObject({ status: "canceled", ended_at: end });
    expect((await stripe.invoices.list({ customer })).data).toMatchObject([{ total: 5, period_end: end }]);
  });

  test("cancelled at once, they bill open usage only with invoice_now", async () => {
    for (const [invoice_now, invoices] of [
      [false, 0],
      [true, 1],
    ] as const) {
      const { stripe, customer, subscription, simulator } = await startSubscribed();
      await stripe.billing.meterEvents.create(event(customer, 10, undefined, START));
      await simulator.advanceClock(5_000);
      expect((await stripe.subscriptions.cancel(subscription.id, { invoice_now })).status).toBe("canceled");
      const { data } = await stripe.invoices.list({ customer });
      expect(data).toHaveLength(invoices);
      expect(data.map(({ total }) => total)).toEqual(invoices === 0 ? [] : [5]);
      expect(await refusal(stripe.subscriptions.update(subscription.id, { cancel_at_period_end: true }))).toMatchObject(
        {
          status: 400,
        },
      );
    }
  });

  test("are listed by customer and status; canceled ones only when asked for", async () => {
    const { stripe, customer, price, subscription } = await startSubscribed();
    const second = await stripe.subscriptions.create({ customer, items: [{ price: price.id }], metadata: { a: "b" } });
    await stripe.subscriptions.cancel(subscription.id);
    const ids = async (sent: Stripe.SubscriptionListParams) =>
      (await stripe.subscriptions.list(sent)).data.map(({ id }) => id);
    expect(await ids({ customer })).toEqual([second.id]);
    expect(await ids({ customer, status: "all" })).toEqual([second.id, subscription.id]);
    expect(await ids({ status: "canceled" })).toEqual([subscription.id]);
    expect(await ids({ customer: "cus_no" })).toEqual([]);
  });

  test("end when their customer is deleted", async () => {
    const { stripe, customer, subscription } = await startSubscribed();
    await stripe.customers.del(customer);
    expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe("canceled");
    expect((await eventTypes(stripe)).slice(-2)).toEqual(["customer.subscription.deleted", "customer.deleted"]);
  });

  test("take the status that a test sets, and say so in events", async () => {
    const { stripe, simulator, subscription } = await startSubscribed();
    for (const status of ["past_due", "unpaid", "paused", "active", "canceled"] as const) {
      await simulator.setSubscriptionStatus(subscription.id, status);
      expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe(status);
    }
    expect((await eventTypes(stripe)).slice(-7)).toEqual([
      "customer.subscription.updated",
      "customer.subscription.updated",
      "customer.subscription.updated",
      "customer.subscription.paused",
      "customer.subscription.updated",
      "customer.subscription.resumed",
      "customer.subscription.deleted",
    ]);
    await expect(simulator.setSubscriptionStatus(subscription.id, "active")).rejects.toThrow(/cannot be reactivated/);
  });
});
