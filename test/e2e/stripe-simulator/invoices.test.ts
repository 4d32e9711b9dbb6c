// Invoices: what metered usage costs, when it is frozen, and how it is paid.
import { describe, expect, test } from "vitest";
import { periodBoundary } from "../../../src/stripe-simulator/billing/periods.ts";
import { event, eventTypes, openStream, period, refusal, START, seconds, startSubscribed, v2Event } from "./harness.ts";

const HOUR_MS = 3_600_000;
const DAY = 86_400;

describe("invoices", () => {
  test("a renewal drafts one that follows the meter for its grace hour, then is final and paid", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    const end = period(subscription)[1] ?? 0;
    await stripe.billing.meterEvents.create(event(customer, 100));
    await simulator.setClock(end * 1_000 - 1);
    expect((await stripe.invoices.list({ customer })).data).toEqual([]);
    await simulator.advanceClock(1);
    const [draft] = (await stripe.invoices.list({ customer })).data;
    expect(draft).toMatchObject({
      status: "draft",
      billing_reason: "subscription_cycle",
      period_start: START,
      period_end: end,
      total: 50,
      automatically_finalizes_at: end + 3_600,
      parent: { subscription_details: { subscription: subscription.id } },
    });
    // Late usage of the old period counts while the draft is open; the period's end itself belongs to the next.
    await stripe.billing.meterEvents.create(event(customer, 20, undefined, end - 1));
    await stripe.billing.meterEvents.create(event(customer, 4_000, undefined, end));
    expect((await stripe.invoices.retrieve(draft?.id ?? "")).total).toBe(60);
    await simulator.advanceClock(HOUR_MS);
    await stripe.billing.meterEvents.create(event(customer, 800, undefined, end - 1));
    const final = await stripe.invoices.retrieve(draft?.id ?? "");
    expect(final).toMatchObject({ status: "paid", total: 60, amount_paid: 60, amount_remaining: 0, attempt_count: 1 });
    expect(final.number).toMatch(/-0001$/);
    expect(final.lines.data).toMatchObject([{ quantity: 120, amount: 60, period: { start: START, end } }]);
    expect(String(final.lines.data[0]?.quantity_decimal)).toBe("120");
    expect(final.status_transitions.finalized_at).toBe(end + 3_600);
    expect((await eventTypes(stripe)).slice(-5)).toEqual([
      "customer.subscription.updated",
      "invoice.created",
      "invoice.finalized",
      "invoice.paid",
      "invoice.payment_succeeded",
    ]);
    expect(simulator.sum("tokens")).toBe("4920");
  });

  test("a line says what it bills: subscription, item, price, period, and the quantity whole and exact", async () => {
    const { stripe, simulator, customer, price, subscription } = await startSubscribed();
    await simulator.setSettings({ decimalValues: true });
    await stripe.billing.meterEvents.create(event(customer, "7.25"));
    await simulator.setClock((period(subscription)[1] ?? 0) * 1_000);
    const [{ id } = { id: "" }] = (await stripe.invoices.list({ customer })).data;
    const [line] = (await stripe.invoices.retrieve(id)).lines.data;
    expect(line).toMatchObject({
      object: "line_item",
      amount: 4,
      parent: {
        type: "subscription_item_details",
        subscription_item_details: {
          subscription: subscription.id,
          subscription_item: subscription.items.data[0]?.id,
          proration: false,
        },
      },
      pricing: { type: "price_details", price_details: { price: price.id, product: price.product } },
      period: { start: START, end: period(subscription)[1] },
      quantity: 7,
    });
    expect(String(line?.quantity_decimal)).toBe("7.25");
    expect(String(line?.pricing?.unit_amount_decimal)).toBe("0.5");
  });

  test("an invoice shows ten lines, and lists all", async () => {
    const { stripe, simulator, customer, price } = await startSubscribed();
    const prices = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        stripe.prices.create({
          currency: "usd",
          unit_amount: i + 1,
          product: String(price.product),
          recurring: { interval: "day", usage_type: "metered", meter: price.recurring?.meter ?? "" },
        }),
      ),
    );
    const { id: subscription } = await stripe.subscriptions.create({
      customer,
      items: prices.map((one) => ({ price: one.id })),
    });
    await stripe.billing.meterEvents.create(event(customer, 3));
    await simulator.advanceClock(DAY * 1_000);
    const [invoice] = (await stripe.invoices.list({ subscription })).data;
    expect(invoice?.lines.data).toHaveLength(10);
    expect(invoice?.lines.has_more).toBe(true);
    const amounts: number[] = [];
    for await (const line of stripe.invoices.listLineItems(invoice?.id ?? "", { limit: 5 })) amounts.push(line.amount);
    expect(amounts).toEqual(prices.map((_, i) => 3 * (i + 1)));
    expect(invoice?.total).toBe(amounts.reduce((sum, amount) => sum + amount));
  });

  test("the grace time can be three days; usage counts until its last moment", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    await simulator.setSettings({ invoiceGraceMs: 72 * HOUR_MS });
    const end = period(subscription)[1] ?? 0;
    await simulator.setClock((end + 72 * 3_600) * 1_000 - 1);
    await stripe.billing.meterEvents.create(event(customer, 9, undefined, end - 1));
    const [draft] = (await stripe.invoices.list({ customer })).data;
    expect(draft).toMatchObject({ status: "draft", automatically_finalizes_at: end + 72 * 3_600 });
    await simulator.advanceClock(1);
    const final = await stripe.invoices.retrieve(draft?.id ?? "");
    expect(final).toMatchObject({
      status: "paid",
      automatically_finalizes_at: null,
      lines: { data: [{ quantity: 9 }] },
    });
  });

  test("one to be sent falls due when the subscription says", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed({
      collection_method: "send_invoice",
      days_until_due: 14,
    });
    await stripe.billing.meterEvents.create(event(customer, 100));
    const end = period(subscription)[1] ?? 0;
    await simulator.setClock(end * 1_000 + HOUR_MS);
    expect((await stripe.invoices.list({ customer })).data).toMatchObject([
      { status: "open", due_date: end + 3_600 + 14 * DAY, amount_remaining: 50 },
    ]);
  });

  test("boundaries at odd seconds split a minute exactly", async () => {
    const anchor = seconds("2026-03-20T10:20:31Z");
    const { stripe, simulator, customer } = await startSubscribed({ billing_cycle_anchor: anchor });
    await simulator.setClock(anchor * 1_000);
    for (const [value, offset] of [
      [2, -31],
      [4, -1],
      [8, 0],
      [16, 28],
    ] as const) {
      await stripe.billing.meterEvents.create(event(customer, value, undefined, anchor + offset));
    }
    const [draft] = (await stripe.invoices.list({ customer })).data;
    expect(draft?.lines.data[0]?.quantity).toBe(6);
  });

  test("negative usage is billed as none", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    await stripe.billing.meterEvents.create(event(customer, -100));
    await simulator.setClock((period(subscription)[1] ?? 0) * 1_000 + HOUR_MS);
    const [invoice] = (await stripe.invoices.list({ customer })).data;
    expect(invoice).toMatchObject({ status: "paid", total: 0, lines: { data: [{ quantity: 0 }] } });
    expect(simulator.sum("tokens")).toBe("-100");
  });

  test("a payment that fails leaves it open and the subscription past due, until it is paid", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    await stripe.billing.meterEvents.create(event(customer, 100));
    await simulator.setPayments("fail", customer);
    await simulator.setClock((period(subscription)[1] ?? 0) * 1_000 + HOUR_MS);
    const [invoice] = (await stripe.invoices.list({ customer })).data;
    expect(invoice).toMatchObject({ status: "open", attempt_count: 1, amount_remaining: 50 });
    expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe("past_due");
    expect((await eventTypes(stripe)).slice(-2)).toEqual(["invoice.payment_failed", "customer.subscription.updated"]);
    await simulator.setPayments("succeed", customer);
    await stripe.invoices.pay(invoice?.id ?? "");
    expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe("active");
    expect(await refusal(stripe.invoices.pay(invoice?.id ?? ""))).toMatchObject({ status: 400 });
  });

  test("a test can fail, pay, void, or write off one invoice", async () => {
    const { stripe, simulator, customer, subscription } = await startSubscribed();
    await stripe.billing.meterEvents.create(event(customer, 100));
    await simulator.setClock((period(subscription)[1] ?? 0) * 1_000);
    const [draft] = (await stripe.invoices.list({ customer })).data;
    const id = draft?.id ?? "";
    await simulator.failInvoice(id);
    expect((await stripe.invoices.retrieve(id)).status).toBe("open");
    expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe("past_due");
    expect((await stripe.invoices.markUncollectible(id)).status).toBe("uncollectible");
    await simulator.payInvoice(id);
    expect((await stripe.invoices.retrieve(id)).status).toBe("paid");
    expect(await refusal(stripe.invoices.voidInvoice(id))).toMatchObject({ status: 400 });
    expect((await stripe.subscriptions.retrieve(subscription.id)).status).toBe("active");
  });

  test("licensed items are paid in advance", async () => {
    const { stripe, simulator, customer } = await startSubscribed();
    const seat = await stripe.prices.create({
      currency: "usd",
      unit_amount: 1_000,
      product_data: { name: "Seat" },
      recurring: { interval: "month" },
    });
    const seats = await stripe.subscriptions.create({ customer, items: [{ price: seat.id, quantity: 3 }] });
    const first = (await stripe.invoices.list({ subscription: seats.id })).data;
    expect(first).toMatchObject([{ status: "paid", total: 3_000, billing_reason: "subscription_create" }]);
    await simulator.setClock((period(seats)[1] ?? 0) * 1_000);
    expect((await stripe.invoices.list({ subscription: seats.id })).data).toMatchObject([
      { status: "draft", total: 3_000, billing_reason: "subscription_cycle" },
      { status: "paid" },
    ]);
  });

  test("a clock that jumps a year makes every invoice on the way, each at its time", async () => {
    const { stripe, simulator, customer } = await startSubscribed();
    await simulator.advanceClock(366 * DAY * 1_000);
    const { data } = await stripe.invoices.list({ customer, limit: 100 });
    expect(data).toHaveLength(12);
    expect(data.map(({ created }) => created)).toEqual(
      Array.from({ length: 12 }, (_, index) =>
        periodBoundary(START, { interval: "month", interval_count: 1 }, 12 - index),
      ),
    );
    expect(new Set(data.map(({ number }) => number)).size).toBe(12);
  });
});

describe("usage that comes in through the stream", () => {
  test.each([
    ["validated before finalization is billed", 3_600_000 - 10_000, 60],
    ["still waiting at finalization is not, whatever is counted later", 3_600_000 - 9_999, 50],
  ])("%s", async (_name, sentAfterMs, total) => {
    const world = await startSubscribed();
    const { stripe, simulator, customer, subscription } = world;
    const end = period(subscription)[1] ?? 0;
    await stripe.billing.meterEvents.create(event(customer, 100));
    await simulator.setClock(end * 1_000);
    const [draft] = (await stripe.invoices.list({ customer })).data;
    // Windows are of ten whole seconds: what is sent within the last before the end waits until then.
    await simulator.advanceClock(sentAfterMs - 1);
    const { send } = await openStream(world);
    await send(v2Event(customer, 20, "late", end - 1));
    expect((await stripe.invoices.retrieve(draft?.id ?? "")).total).toBe(50);
    await simulator.setClock((end + 3_600) * 1_000);
    expect(await stripe.invoices.retrieve(draft?.id ?? "")).toMatchObject({ status: "paid", total });
    await simulator.advanceClock(60_000);
    expect(simulator.sum("tokens")).toBe("120");
    expect((await stripe.invoices.retrieve(draft?.id ?? "")).total).toBe(total);
  });
});

test("a cancellation lowers a draft, and changes nothing of a final invoice", async () => {
  const { stripe, simulator, customer, subscription } = await startSubscribed();
  const end = period(subscription)[1] ?? 0;
  await simulator.setClock(end * 1_000);
  for (const identifier of ["one", "two"]) {
    await stripe.billing.meterEvents.create(event(customer, 100, identifier, end - 1));
  }
  const cancel = (identifier: string) =>
    stripe.v2.billing.meterEventAdjustments.create({ event_name: "tokens", type: "cancel", cancel: { identifier } });
  const [draft] = (await stripe.invoices.list({ customer })).data;
  const total = async () => (await stripe.invoices.retrieve(draft?.id ?? "")).total;
  expect(await total()).toBe(100);
  await cancel("one");
  expect(await total()).toBe(50);
  await simulator.setClock((end + 3_600) * 1_000);
  await cancel("two");
  expect(simulator.sum("tokens")).toBe("0");
  expect(await stripe.invoices.retrieve(draft?.id ?? "")).toMatchObject({
    status: "paid",
    total: 50,
    amount_paid: 50,
    lines: { data: [{ quantity: 100, amount: 50 }] },
  });
});
