// The control interface over HTTP, and the page.
import { expect, test } from "vitest";
import { event, raw, START_MS, startMetering } from "./harness.ts";

test("the state has exact sums per customer and event name, and the accepted events can be listed", async () => {
  const { stripe, simulator, customer, meter } = await startMetering();
  await stripe.billing.meterEvents.create(event(customer, "999999999999999", "one"));
  await stripe.billing.meterEvents.create(event(customer, "2", "two"));
  expect((await raw(simulator, "GET", "/_simulator/state")).body).toMatchObject({
    simulated: true,
    now_ms: START_MS,
    counts: { customers: 1, meters: 1, meter_events: 2 },
    totals: [{ customer, event_name: "tokens", meter, sum: "1000000000000001" }],
    answered: { "POST /v1/billing/meter_events": { 200: 2 } },
  });
  const listed = await raw(simulator, "GET", `/_simulator/meter_events?customer=${customer}&identifier=two`);
  expect(listed.body).toEqual({
    data: [
      {
        identifier: "two",
        event_name: "tokens",
        customer,
        value: "2",
        timestamp: START_MS / 1_000,
        received_ms: START_MS,
        inlet: "v1",
        fate: "counted",
        times_accepted: 1,
        payload: { stripe_customer_id: customer, value: "2" },
      },
    ],
  });
});

test("the clock moves forward, stands still, and does not go back", async () => {
  const { simulator } = await startMetering();
  const post = (body: object) => raw(simulator, "POST", "/_simulator/clock", JSON.stringify(body));
  expect((await post({ advance_ms: 5_000 })).body).toEqual({ now_ms: START_MS + 5_000 });
  expect((await post({ now_ms: START_MS + 60_000, frozen: true })).body).toEqual({ now_ms: START_MS + 60_000 });
  expect(await post({ now_ms: START_MS })).toMatchObject({ status: 400 });
  expect(await post({ now_ms: "soon" })).toMatchObject({ status: 400 });
});

test("a running clock goes on from where it was set; a frozen one doesn't", async () => {
  let nowMs = START_MS;
  const { simulator } = await startMetering({ clock: () => nowMs });
  await simulator.advanceClock(1_000);
  nowMs += 10;
  expect(simulator.nowMs()).toBe(START_MS + 1_010);
  await simulator.setClock(START_MS + 5_000, true);
  nowMs += 10;
  expect(simulator.nowMs()).toBe(START_MS + 5_000);
});

test("settings, payments, subscriptions, invoices and webhooks can be turned over HTTP", async () => {
  const { stripe, simulator, customer, meter } = await startMetering();
  const post = (path: string, body: object) => raw(simulator, "POST", `/_simulator/${path}`, JSON.stringify(body));
  expect(await post("settings", { summaryDelayMs: 5 })).toMatchObject({ status: 200, body: { summaryDelayMs: 5 } });
  expect(await post("settings", { summaryDelay: 5 })).toMatchObject({ status: 400 });
  expect(await post("payments", { outcome: "fail", customer })).toMatchObject({ body: { failing: [customer] } });
  const price = await stripe.prices.create({
    currency: "usd",
    unit_amount: 2,
    product_data: { name: "Tokens" },
    recurring: { interval: "day", usage_type: "metered", meter },
  });
  const { id } = await stripe.subscriptions.create({ customer, items: [{ price: price.id }] });
  expect(await post(`subscriptions/${id}`, { status: "past_due" })).toMatchObject({ body: { id, status: "past_due" } });
  expect(await post("subscriptions/sub_no", { status: "past_due" })).toMatchObject({ status: 404 });
  await post("clock", { advance_ms: 86_400_000 });
  const [invoice] = (await stripe.invoices.list({ customer })).data;
  expect(await post(`invoices/${invoice?.id}/pay`, {})).toMatchObject({ body: { status: "paid" } });
  expect(await post(`invoices/${invoice?.id}/fail`, {})).toMatchObject({ status: 400 });
  expect(await post("webhooks", { hold: true })).toMatchObject({ status: 200 });
  expect(await post("webhooks/release", { order: "shuffled" })).toMatchObject({ status: 200 });
  expect(await post("meter_concurrency", { enabled: true, holdMs: 0 })).toMatchObject({ status: 200 });
  expect(await post("nothing", {})).toMatchObject({ status: 404 });
  expect(await post("internal/clock", { offsetMs: 0, frozenAtMs: null })).toMatchObject({ status: 404 });
});

test("the page says that it is simulated, and escapes what it shows", async () => {
  const { stripe, simulator, customer } = await startMetering();
  await stripe.customers.update(customer, { name: "<script>alert(1)</script>" });
  await stripe.billing.meterEvents.create(event(customer, "12345"));
  const response = await fetch(`${simulator.url}/_simulator/`);
  const html = await response.text();
  expect(response.headers.get("content-type")).toContain("text/html");
  expect(html).toContain("SIMULATED");
  expect(html).toContain("12345");
  expect(html).not.toContain("<script>");
});
