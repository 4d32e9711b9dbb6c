// The order in which Stripe's events come must not matter, nor how often each comes, nor how far Stripe has moved on when one is applied.
// Real inbox, worker and Postgres; Stripe is what a scenario makes of it, since the wire is covered elsewhere.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ApplyStripeEvents } from "../../../src/app/apply-stripe-events.ts";
import type { StoredStripeEvent } from "../../../src/app/ports/accounts.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresFlushRequests } from "../../../src/postgres/flush-requests.ts";
import { postgresMeterErrors } from "../../../src/postgres/meter-errors.ts";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import { drawScenario, type Scenario, T0 } from "./scenario.ts";
import type { Objects } from "./webhook-service.ts";

const SCENARIOS = 50;
const PERMUTATIONS = 20;
const LEASE = "flush";
const never = new AbortController().signal;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, 4, "postgres");
  // A thousand databases' worth of rows are deleted: nothing of it need be on disk.
  await database.pool.query(`ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET synchronous_commit = off`);
});
afterAll(() => database.close());

/** Reports of every state, in the periods that scenarios have, and a customer that an operator mapped. */
const REPORTS = ["planned", "unknown", "sent", "accepted", "accepted", "held", "superseded"].map((state, i) => {
  const customer = i % 2 === 0 ? "cus_a" : "cus_b";
  return { identifier: `r${i}`, state, customer, atMs: T0 + i * 10 * 86_400_000 };
});
const BASE = `
  DELETE FROM stripe_event; DELETE FROM account; DELETE FROM customer_claim; DELETE FROM subscription; DELETE FROM invoice;
  DELETE FROM period_boundary; DELETE FROM meter_error; DELETE FROM reconcile_request; DELETE FROM flush_request;
  DELETE FROM report; DELETE FROM pending_window;
  INSERT INTO account (customer_id, stripe_customer_id, source) VALUES ('operated', 'cus_o', 'operator');
  INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, state, lease_epoch)
  VALUES ${REPORTS.map(({ identifier, state, customer, atMs }) => {
    const at = `'${new Date(atMs).toISOString()}'`;
    return `('${identifier}', '${customer}', '${customer}', 'tokens', ${at}, 0, 5, ${at}, '${state}', 1)`;
  }).join(", ")};
  INSERT INTO pending_window (customer_id, window_start, event_name, window_end, total, reported, accepted)
  SELECT customer_id, window_start, event_name, window_start + interval '1 minute', value, value, CASE state WHEN 'accepted' THEN value ELSE 0 END
  FROM report;`;

/** All that events lead to, but for when. What may differ is left out: a deadline of what is settled is nobody's concern. */
const STATE = `SELECT json_build_object(
  'account', (SELECT json_agg(json_build_array(customer_id, stripe_customer_id, source) ORDER BY customer_id) FROM account),
  'claims', (SELECT json_agg(json_build_array(stripe_customer_id, customer_id, created_at, deleted) ORDER BY stripe_customer_id) FROM customer_claim),
  'subscription', (SELECT json_agg(json_build_array(subscription_id, stripe_customer_id, status, period_start, period_end)
    ORDER BY subscription_id) FROM subscription),
  'invoice', (SELECT json_agg(json_build_array(invoice_id, stripe_customer_id, subscription_id, status, payment_failed_at, finalizes_at,
    finalized_at) ORDER BY invoice_id) FROM invoice),
  'period', (SELECT json_agg(json_build_array(invoice_id, event_name, period_start, period_end, billed, closed_at)
    ORDER BY invoice_id) FROM invoiced_period),
  'boundary', (SELECT json_agg(json_build_array(customer_id, boundary) ORDER BY customer_id, boundary)
    FROM period_boundary WHERE customer_id LIKE 'cus\\_%'),
  -- A customer that was mapped otherwise for a while keeps boundaries of that time; it must not lack any.
  'lacking', (SELECT json_agg(json_build_array(a.customer_id, b.boundary)) FROM account a
    JOIN period_boundary b ON b.customer_id = a.stripe_customer_id
    WHERE NOT EXISTS (SELECT FROM period_boundary o WHERE o.customer_id = a.customer_id AND o.boundary = b.boundary)),
  'error', (SELECT json_agg(json_build_array(event_id, code, event_name, error_count, samples) ORDER BY event_id, code) FROM meter_error),
  'report', (SELECT json_agg(json_build_array(identifier, state, reason, message,
    CASE WHEN state IN ('planned', 'sending', 'unknown', 'sent') THEN finalizes_at END) ORDER BY identifier) FROM report),
  'accepted', (SELECT json_agg(json_build_array(customer_id, window_start, accepted) ORDER BY customer_id, window_start) FROM pending_window),
  'unsettled', (SELECT json_agg(json_build_array(event_id, type, state, last_error)) FROM stripe_event WHERE state <> 'applied')
)::text AS state`;

type Delivery = "advance" | StoredStripeEvent;

/** Stripe first takes all its steps; then each event comes once, in order. */
function straight(scenario: Scenario): Delivery[] {
  return [...Array<Delivery>(scenario.length).fill("advance"), ...scenario.events.flat()];
}

/** Each event comes once or more at any time after it was made, also under another id; Stripe takes its steps in between. */
function shuffled(scenario: Scenario, random: () => number): Delivery[] {
  const placed: { delivery: Delivery; at: number }[] = scenario.events.flatMap((events, step) => {
    const copies = events.flatMap((event) => {
      const twin = { ...event, eventId: `${event.eventId}_twin` };
      // An error report under another id would be another error report.
      const mayTwin = !event.type.startsWith("v1.");
      return [event, ...(random() < 0.2 ? [event] : []), ...(mayTwin && random() < 0.15 ? [twin] : [])];
    });
    const later = copies.map((delivery) => ({ delivery, at: step + random() * (scenario.length - step) * 1.5 }));
    return [{ delivery: "advance" as const, at: step }, ...later];
  });
  return placed.sort((a, b) => a.at - b.at).map(({ delivery }) => delivery);
}

async function stateAfter(scenario: Scenario, deliveries: readonly Delivery[], random: () => number): Promise<object> {
  const { pool } = database;
  await pool.query(BASE);
  const { objects, advance } = scenario.begin();
  const worker = workerOn(objects);
  const inbox = postgresStripeEventInbox(pool);
  const arriving: Promise<boolean>[] = [];
  for (const delivery of deliveries) {
    if (delivery === "advance") advance();
    else arriving.push(inbox.store(delivery));
    if (random() >= 0.2) continue;
    await Promise.all(arriving.splice(0));
    await worker.applyDue(never);
  }
  await Promise.all(arriving);
  while ((await worker.applyDue(never)) > 0);
  const result = await pool.query<{ state: string }>(STATE);
  return JSON.parse(result.rows[0]?.state ?? "");
}

function workerOn(objects: Objects): ApplyStripeEvents {
  const { pool } = database;
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  return new ApplyStripeEvents({
    inbox: postgresStripeEventInbox(pool),
    objects,
    accounts: postgresAccounts(pool, { catalog: testCatalog(), shardCount: 4, logger }, LEASE),
    meterErrors: postgresMeterErrors(pool, LEASE),
    flushRequests: postgresFlushRequests(pool, LEASE),
    customerMetadataKey: "metering_customer_id",
    onHeld() {},
    clock: testClock(),
    logger,
  });
}

test(`${SCENARIOS * PERMUTATIONS} orders of the same events, repeated and delayed, end in the same accounts and reports`, async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  for (let run = 0; run < SCENARIOS; run++) {
    const scenario = drawScenario(
      random,
      REPORTS.map(({ identifier }) => identifier),
    );
    const expected = await stateAfter(scenario, straight(scenario), random);
    expect(expected, `SEED=${seed} scenario ${run}`).toMatchObject({ unsettled: null, lacking: null });
    for (let permutation = 0; permutation < PERMUTATIONS; permutation++) {
      const deliveries = shuffled(scenario, random);
      const told = () => deliveries.map((one) => (one === "advance" ? "-" : `${one.type} ${one.objectId}`)).join(", ");
      const state = await stateAfter(scenario, deliveries, random);
      expect(state, `SEED=${seed} scenario ${run} permutation ${permutation}: ${told()}`).toEqual(expected);
    }
  }
}, 600_000);
