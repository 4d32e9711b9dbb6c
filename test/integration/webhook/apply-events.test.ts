// The worker against a Stripe that moves on while events are under way, fails, or is slow. Real inbox and accounts.
import pg from "pg";
import Stripe from "stripe";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import type { InvoiceState, StripeObjects, SubscriptionState } from "../../../src/app/ports/accounts.ts";
import type { MeterErrorReport } from "../../../src/app/ports/meter-errors.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import {
  accountState,
  SECRET,
  SHARDS,
  settled,
  startWebhookService,
  THIN_SECRET,
  type WebhookService,
} from "./webhook-service.ts";

const HOUR = 3_600_000;
const T0 = Date.UTC(2026, 10, 1);

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, SHARDS, "postgres");
});
afterAll(() => database.close());
beforeEach(() => database.pool.query("TRUNCATE stripe_event, subscription, invoice, invoiced_period, period_boundary"));

async function deliver(service: WebhookService, body: string): Promise<void> {
  const signature = Stripe.webhooks.generateTestHeaderString({ payload: body, secret: SECRET });
  const headers = { "content-type": "application/json", "stripe-signature": signature };
  const response = await fetch(service.url, { method: "POST", headers, body });
  expect(response.status).toBe(200);
}

let events = 0;
function eventOf(type: string, objectId: string, createdMs = T0): string {
  events += 1;
  const created = createdMs / 1000;
  return JSON.stringify({ id: `evt_${events}`, object: "event", type, created, data: { object: { id: objectId } } });
}

function subscriptionState(status: string, boundariesMs: readonly number[] = []): SubscriptionState {
  return { subscriptionId: "sub_1", stripeCustomerId: "cus_1", status, currentPeriod: undefined, boundariesMs };
}
function invoiceState(status: string): InvoiceState {
  const undated = { finalizesMs: undefined, finalizedMs: undefined, lines: [] };
  return { invoiceId: "in_1", stripeCustomerId: "cus_1", subscriptionId: "sub_1", status, ...undated };
}

test("Stripe moves on between deliveries, reads are slow: the last state wins, however events come", async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  const statuses = ["incomplete", "trialing", "active", "past_due", "active", "past_due", "unpaid", "canceled"];
  const invoices = ["draft", "open", "open", "open", "paid"];
  for (let run = 0; run < 8; run++) {
    await database.pool.query("TRUNCATE stripe_event, subscription, invoice, invoiced_period, period_boundary");
    let [subscription, invoice] = [0, 0];
    const slowly = async <T>(read: () => T): Promise<T> => {
      const answer = read();
      // The answer is on its way while the object changes again; some are overtaken by many others.
      await new Promise((resolve) => setTimeout(resolve, random() < 0.3 ? 50 : random() * 4));
      return answer;
    };
    const objects: Partial<StripeObjects> = {
      subscription: () => slowly(() => subscriptionState(statuses[subscription] ?? "", [T0 + subscription * HOUR])),
      invoice: () => slowly(() => invoiceState(invoices[invoice] ?? "")),
    };
    const services = [
      await startWebhookService(database.pool, objects),
      await startWebhookService(database.connect(), objects),
    ] as const;
    for (const service of services) service.run();
    // What happened, and has not been delivered for the last time.
    const waiting = [eventOf("customer.subscription.created", "sub_1"), eventOf("invoice.created", "in_1")];
    const failures: number[] = [];
    const step = async () => {
      if (random() < 0.5 && subscription < statuses.length - 1) {
        subscription += 1;
        waiting.push(eventOf("customer.subscription.updated", "sub_1"));
      } else if (random() < 0.5 && invoice < invoices.length - 1) {
        invoice += 1;
        const failedMs = T0 + Math.floor(random() * 100) * HOUR;
        if (invoices[invoice] === "open") failures.push(failedMs);
        waiting.push(
          eventOf(invoices[invoice] === "open" ? "invoice.payment_failed" : "invoice.paid", "in_1", failedMs),
        );
      }
      const body = waiting[Math.floor(random() * waiting.length)];
      if (body === undefined) return;
      if (random() < 0.7) waiting.splice(waiting.indexOf(body), 1);
      await deliver(services[random() < 0.5 ? 0 : 1], body);
    };
    while (subscription < statuses.length - 1 || invoice < invoices.length - 1) await Promise.all([step(), step()]);
    await Promise.all([...waiting].map((body) => deliver(services[0], body)));
    await settled(database.pool);
    for (const service of services) await service.close();
    expect(await accountState(database.pool), `SEED=${seed} run ${run}`).toMatchObject({
      subscriptions: [{ subscription_id: "sub_1", status: "canceled" }],
      invoices: [{ invoice_id: "in_1", status: "paid", payment_failed_at: new Date(Math.min(...failures)) }],
    });
  }
});

test("invoice.created: the subscription's new period is known before the flush is asked for", async () => {
  const period = { startMs: T0, endMs: T0 + 30 * 24 * HOUR };
  const service = await startWebhookService(database.pool, {
    subscription: async () => ({
      ...subscriptionState("active", [period.startMs, period.endMs]),
      currentPeriod: period,
    }),
    invoice: async () => invoiceState("draft"),
  });
  await database.pool.query("INSERT INTO account VALUES ('acme', 'cus_1')");
  await deliver(service, eventOf("invoice.created", "in_1"));
  await service.worker.applyDue(new AbortController().signal);
  expect(service.flushed).toEqual(["acme"]);
  expect(await accountState(database.pool)).toMatchObject({
    subscriptions: [{ status: "active", period_start: new Date(period.startMs) }],
    invoices: [{ status: "draft", payment_failed_at: null }],
    // Usage may have been recorded under the Stripe customer's own id as well.
    boundaries: ["acme", "acme", "cus_1", "cus_1"].map((customer_id) => ({ customer_id })),
  });
  await database.pool.query("TRUNCATE account");
});

test("an invoice that is no subscription's flushes nothing", async () => {
  const service = await startWebhookService(database.pool, {
    invoice: async () => ({ ...invoiceState("draft"), subscriptionId: "" }),
  });
  await deliver(service, eventOf("invoice.created", "in_1"));
  await service.worker.applyDue(new AbortController().signal);
  expect(service.flushed).toEqual([]);
});

describe("error reports", () => {
  const report: MeterErrorReport = {
    eventId: "evt_error",
    eventName: "tokens",
    validation: { startMs: T0, endMs: T0 + 10_000 },
    errors: [{ code: "archived_meter", count: 2, samples: [{ identifier: "r1", message: "archived" }] }],
  };
  const thin = JSON.stringify({
    id: "evt_error",
    object: "v2.core.event",
    type: "v1.billing.meter.error_report_triggered",
    created: "2026-11-23T18:00:00.000Z",
    related_object: { id: "mtr_1" },
  });
  const never = new AbortController().signal;
  const stored = async () => (await database.pool.query("SELECT state, last_error FROM stripe_event")).rows;
  const setState = (state: string) => database.pool.query("UPDATE report SET state = $1", [state]);

  async function deliverThin(service: WebhookService): Promise<void> {
    const signature = Stripe.webhooks.generateTestHeaderString({ payload: thin, secret: THIN_SECRET });
    const headers = { "content-type": "application/json", "stripe-signature": signature };
    expect((await fetch(service.thinUrl, { method: "POST", headers, body: thin })).status).toBe(200);
  }

  beforeEach(async () => {
    await database.pool.query("TRUNCATE report, drift, meter_error, reconcile_request");
    await database.pool.query(
      `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, state, lease_epoch)
       VALUES ('r1', 'acme', 'cus_1', 'tokens', now(), 0, 5, now(), 'sent', 1)`,
    );
  });

  test("fetched in full, the report named is held, loudly", async () => {
    const service = await startWebhookService(database.pool, { meterErrorReport: async () => report });
    await deliverThin(service);
    await service.worker.applyDue(never);
    expect(await stored()).toEqual([{ state: "applied", last_error: "" }]);
    const { rows } = await database.pool.query("SELECT state, reason, message FROM report");
    expect(rows).toEqual([{ state: "held", reason: "archived_meter", message: "archived" }]);
    expect(service.held).toEqual(new Map([["archived_meter", 1]]));
    const told = service.log.filter((line) => line.level === "error");
    expect(told).toMatchObject([{ fields: { codes: ["2 archived_meter"], held: { archived_meter: 1 } } }]);
  });

  test("what is being sent at this moment is looked at again when that has ended", async () => {
    const service = await startWebhookService(database.pool, { meterErrorReport: async () => report });
    await setState("sending");
    await deliverThin(service);
    await service.worker.applyDue(never);
    expect(await stored()).toEqual([{ state: "received", last_error: expect.stringContaining("being sent") }]);
    await setState("unknown");
    await database.pool.query("UPDATE stripe_event SET next_attempt_at = now()");
    await service.worker.applyDue(never);
    expect((await database.pool.query("SELECT state FROM report")).rows).toEqual([{ state: "held" }]);
  });

  test("one that Stripe no longer has is never passed over in silence", async () => {
    const service = await startWebhookService(database.pool, { meterErrorReport: async () => undefined });
    await deliverThin(service);
    await service.worker.applyDue(never);
    expect(await stored()).toEqual([{ state: "received", last_error: expect.stringContaining("no such event") }]);
  });
});

describe("Stripe is away", () => {
  const away = {
    subscription: () => Promise.reject(new Error("connection refused")),
    invoice: () => Promise.reject(new Error("connection refused")),
  };
  const never = new AbortController().signal;
  const dueIn = async () => {
    const result = await database.pool.query(
      "SELECT state, last_error, extract(epoch FROM next_attempt_at - now())::float8 AS due FROM stripe_event",
    );
    return result.rows[0];
  };

  test("later and later, then given up, loudly", async () => {
    const service = await startWebhookService(database.pool, away);
    await deliver(service, eventOf("customer.subscription.updated", "sub_1"));
    const delays: number[] = [];
    for (;;) {
      expect(await service.worker.applyDue(never)).toBe(1);
      const { state, last_error, due } = await dueIn();
      expect(last_error).toBe("connection refused");
      if (state === "dead") break;
      delays.push(due);
      expect(await service.worker.applyDue(never)).toBe(0);
      await database.pool.query("UPDATE stripe_event SET next_attempt_at = now()");
    }
    const expected = [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600];
    expect(delays).toHaveLength(expected.length);
    // The clock goes on between the write and the look.
    for (const [i, seconds] of expected.entries()) expect(seconds - (delays[i] ?? 0)).toBeLessThan(4);
    for (const [i, seconds] of expected.entries()) expect(delays[i]).toBeLessThanOrEqual(seconds);
    const levels = service.log
      .filter((line) => "objectId" in line.fields && "err" in line.fields)
      .map((line) => line.level);
    expect(levels).toEqual([...Array(9).fill("warn"), "error"]);
  });

  test("one that fails does not hold up others", async () => {
    const service = await startWebhookService(database.pool, { ...away, invoice: async () => invoiceState("paid") });
    service.run();
    await deliver(service, eventOf("customer.subscription.updated", "sub_1"));
    await deliver(service, eventOf("invoice.paid", "in_1"));
    while ((await database.pool.query("SELECT FROM invoice")).rowCount === 0) await new Promise(setImmediate);
    expect(await accountState(database.pool)).toMatchObject({ subscriptions: [], invoices: [{ status: "paid" }] });
  });
});

test("stopped in the middle: the event is given back at once, not held until its lease ends", async () => {
  const reading = Promise.withResolvers<void>();
  const service = await startWebhookService(database.pool, {
    subscription: (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        reading.resolve();
      }),
  });
  service.run();
  await deliver(service, eventOf("customer.subscription.updated", "sub_1"));
  await reading.promise;
  await service.close();
  const successor = await startWebhookService(database.pool, {
    subscription: async () => subscriptionState("active"),
  });
  expect(await successor.worker.applyDue(new AbortController().signal)).toBe(1);
  expect(await accountState(database.pool)).toMatchObject({ subscriptions: [{ status: "active" }] });
});

test("the worker wakes at once for what its own process stored", async () => {
  const service = await startWebhookService(database.pool, {
    subscription: async () => subscriptionState("active"),
  });
  service.run();
  let fastest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const startedMs = performance.now();
    await deliver(service, eventOf("customer.subscription.updated", "sub_1"));
    await settled(database.pool);
    fastest = Math.min(fastest, performance.now() - startedMs);
  }
  // The next poll would be up to 500 ms away, five times in a row.
  expect(fastest).toBeLessThan(250);
});

test("the loop outlives a database that goes away and comes back", async () => {
  const service = await startWebhookService(database.connect(), {
    subscription: async () => subscriptionState("active"),
  });
  await deliver(service, eventOf("customer.subscription.updated", "sub_1"));
  const admin = new pg.Client({ connectionString: inject("postgresUrl") });
  await admin.connect();
  const name = new URL(database.url).pathname.slice(1);
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [name]);
  service.run();
  while (!service.log.some((line) => line.message.includes("cannot be read"))) await new Promise(setImmediate);
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  await admin.end();
  // The first pool's connections were cut too.
  const fresh = database.connect();
  await settled(fresh);
  expect(await accountState(fresh)).toMatchObject({ subscriptions: [{ status: "active" }] });
});
