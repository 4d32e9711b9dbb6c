// The control interface over HTTP, and the page.
import { expect, test } from "vitest";
import { event, period, raw, START_MS, startMetering, startSubscribed } from "./harness.ts";

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

/** What the page shows under a heading, its tags left out, cells parted by "|". */
async function shown(simulator: { readonly url: string }, heading: string): Promise<string> {
  const response = await fetch(`${simulator.url}/_simulator/`);
  expect(response.headers.get("content-type")).toContain("text/html");
  const html = await response.text();
  expect(html).toContain("SIMULATED");
  expect(html).not.toContain("<script");
  const section = html.split(/<section id="[^"]*">/).find((part) => part.startsWith(`<h2>${heading}</h2>`));
  return (section ?? "").replaceAll(/<\/t[dh]>/g, "|").replaceAll(/<[^>]+>/g, "");
}

test("the page shows sums, customers and events, and escapes what it shows", async () => {
  const { stripe, simulator, customer } = await startMetering();
  await stripe.customers.update(customer, { name: "<script>alert(1)</script>", metadata: { tenant: "acme" } });
  await stripe.billing.meterEvents.create(event(customer, 12_345, "one"));
  expect(await shown(simulator, "Meters and sums")).toContain(`tokens|${customer}|12345|`);
  expect(await shown(simulator, "Customers")).toContain("&lt;script&gt;alert(1)&lt;/script&gt;||tenant acme|");
  expect(await shown(simulator, "Meter events")).toContain(
    `now|tokens|${customer}|12345|2026-03-10 12:00:00|one|counted|`,
  );
  expect(await shown(simulator, "Events")).toContain("customer.updated");
  expect(await shown(simulator, "Requests answered")).toContain("POST /v1/billing/meter_events|200: 1|");
});

test("the page shows drafts with their time to finalization, and what became of webhooks", async () => {
  const { stripe, simulator, subscription, customer } = await startSubscribed();
  await stripe.billing.meterEvents.create(event(customer, 100));
  const end = period(subscription)[1] ?? 0;
  await simulator.setClock(end * 1_000 + 1_800_000);
  expect(await shown(simulator, "Drafts")).toMatch(
    new RegExp(`\\|${customer}\\|50 usd\\|2026-03-10 12:00:00 to 2026-04-10 12:00:00\\|in 30 min\\|`),
  );
  expect(await shown(simulator, "Subscriptions")).toContain("2026-04-10 12:00:00 to 2026-05-10 12:00:00|in 29 d 23 h|");
  await stripe.webhookEndpoints.create({ url: "http://127.0.0.1:1/closed", enabled_events: ["invoice.finalized"] });
  await simulator.advanceClock(1_800_000);
  expect(await shown(simulator, "Drafts")).toContain("none");
  expect(await shown(simulator, "Invoices")).toContain(`|${customer}|paid|50 usd|`);
  const webhooks = await shown(simulator, "Webhooks");
  expect(webhooks).toContain("Waiting: 1");
  expect(webhooks).toContain("invoice.finalized|http://127.0.0.1:1/closed|1|in 1 s|");
  await simulator.advanceClock(75 * 3_600_000);
  const later = await shown(simulator, "Webhooks");
  expect(later).toContain("Waiting: 0");
  expect(later).toContain("Given up: 1");
});

test("the page shows sessions, what became of streamed events, and thin events", async () => {
  const { stripe, simulator, customer } = await startMetering();
  const session = await stripe.v2.billing.meterEventSession.create();
  const events = [customer, "cus_no"].map((id) => ({
    event_name: "tokens",
    payload: { stripe_customer_id: id, value: "5" },
  }));
  await stripe.v2.billing.meterEventStream.create({ events }, { apiKey: session.authentication_token });
  expect(await shown(simulator, "Streams")).toContain(
    "taken 2, counted 0, duplicate 0, rejected 0, dropped 0, waiting 2",
  );
  await simulator.advanceClock(20 * 60_000);
  const streams = await shown(simulator, "Streams");
  expect(streams).toContain("taken 2, counted 1, duplicate 0, rejected 1, dropped 0, waiting 0");
  expect(streams).toContain("2026-03-10 12:15:00|expired|");
  expect(streams).toContain("v1.billing.meter.error_report_triggered");
});

test("the page shows the faults in force, however they were set", async () => {
  const { simulator, customer } = await startMetering();
  expect(await shown(simulator, "Faults in force")).toContain("none");
  simulator.addFault({ route: "*", kind: "server_error", next: 2, status: 503 });
  simulator.configureWebhooks({ failureRate: 0.25 });
  simulator.setMeterConcurrency({ enabled: true, holdMs: 7 });
  await simulator.setPayments("fail", customer);
  const faults = await shown(simulator, "Faults in force");
  expect(faults).toContain("*|server_error|the next 2|status 503|");
  expect(faults).toContain("webhooks|delivery|all|failureRate 0.25|");
  expect(faults).toContain("POST /v1/billing/meter_events|conflict|at the same time|each held 7 ms|");
  expect(faults).toContain(`payments|fail|of ${customer}||`);
});
