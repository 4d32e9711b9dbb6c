// The webhook role of the service, as `serve` composes it: HTTP port, inbox, worker, accounts. For tests.
import { expect, onTestFinished } from "vitest";
import { ApplyStripeEvents, STORED_EVENT_TYPES } from "../../../src/app/apply-stripe-events.ts";
import type { StripeObjects } from "../../../src/app/ports/accounts.ts";
import type { MeterErrorSource } from "../../../src/app/ports/meter-errors.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import { postgresMeterErrors } from "../../../src/postgres/meter-errors.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { stripeWebhookVerifier } from "../../../src/stripe/webhook-verifier.ts";
import { THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../../../src/webhook/app.ts";
import { startWebhookServer } from "../../../src/webhook/server.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";

export const SHARDS = 4;
export const SECRET = "whsec_test";
export const THIN_SECRET = "whsec_thin";
const LEASE = "flush";

/** What the worker reads of Stripe. */
export type Objects = StripeObjects & MeterErrorSource;

export interface LogLine {
  readonly level: string;
  readonly fields: object;
  readonly message: string;
}

export interface WebhookService {
  readonly url: string;
  readonly thinUrl: string;
  readonly worker: ApplyStripeEvents;
  /** Reports that events put on hold, by reason. */
  readonly held: ReadonlyMap<string, number>;
  /** Customers that a flush was asked for, in order. */
  readonly flushed: (string | undefined)[];
  readonly log: LogLine[];
  /** Starts the worker's loop; without it, rounds are run by hand. */
  run(): void;
  close(): Promise<void>;
}

/** One process of it, that reads of Stripe what is given and nothing else. Closed when the test ends, or earlier by close(). */
export async function startWebhookService(pool: Pool, objects: Partial<Objects>): Promise<WebhookService> {
  const log: LogLine[] = [];
  const logAs = (level: string) => (fields: object, message: string) => void log.push({ level, fields, message });
  const logger = { debug: logAs("debug"), info: logAs("info"), warn: logAs("warn"), error: logAs("error") };
  const clock = testClock();
  const inbox = postgresStripeEventInbox(pool);
  const flushed: (string | undefined)[] = [];
  const held = new Map<string, number>();
  const unread = (id: string) => expect.unreachable(`${id} was read`);
  const worker = new ApplyStripeEvents({
    inbox,
    objects: { subscription: unread, invoice: unread, customer: unread, meterErrorReport: unread, ...objects },
    accounts: postgresAccounts(pool, { catalog: testCatalog(), shardCount: SHARDS, logger }, LEASE),
    meterErrors: postgresMeterErrors(pool, LEASE),
    customerMetadataKey: "metering_customer_id",
    onHeld: (reason, reports) => held.set(reason, (held.get(reason) ?? 0) + reports),
    flushRequests: {
      async request(customerId) {
        flushed.push(customerId);
        return BigInt(flushed.length);
      },
    },
    clock,
    logger,
  });
  const server = await startWebhookServer({
    host: "127.0.0.1",
    port: 0,
    requestTimeoutMs: 5_000,
    connectionsMax: 100,
    inbox,
    verifier: stripeWebhookVerifier([SECRET], clock),
    thinVerifier: stripeWebhookVerifier([THIN_SECRET], clock),
    storedTypes: STORED_EVENT_TYPES,
    bodyMaxBytes: 1_048_576,
    onStored: () => worker.wake(),
    onDelivery: () => {},
    logger,
  });
  const stop = new AbortController();
  let running = Promise.resolve();
  let closed: Promise<unknown> | undefined;
  const close = async () => {
    stop.abort();
    closed ??= Promise.all([running, server.close(1_000)]);
    await closed;
  };
  onTestFinished(close);
  const origin = `http://127.0.0.1:${server.port}`;
  const run = () => {
    running = worker.run(stop.signal);
  };
  const urls = { url: `${origin}${WEBHOOK_PATH}`, thinUrl: `${origin}${THIN_WEBHOOK_PATH}` };
  return { ...urls, worker, held, flushed, log, run, close };
}

/** Resolves when every stored event is applied or dead; the deadline is the test's own. */
export async function settled(pool: Pool): Promise<void> {
  for (;;) {
    const result = await pool.query("SELECT FROM stripe_event WHERE state = 'received' LIMIT 1");
    if (result.rowCount === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** All that webhooks lead to, but for when. */
export async function accountState(pool: Pool): Promise<object> {
  const rows = async (sql: string) => (await pool.query(sql)).rows;
  return {
    subscriptions: await rows(
      "SELECT subscription_id, stripe_customer_id, status, period_start, period_end FROM subscription ORDER BY 1",
    ),
    invoices: await rows(
      "SELECT invoice_id, stripe_customer_id, subscription_id, status, payment_failed_at, finalizes_at, finalized_at FROM invoice ORDER BY 1",
    ),
    periods: await rows(
      "SELECT invoice_id, event_name, period_start, period_end, stripe_customer_id, billed, closed_at FROM invoiced_period ORDER BY 1, 2, 3",
    ),
    boundaries: await rows("SELECT customer_id, boundary FROM period_boundary ORDER BY 1, 2"),
  };
}
