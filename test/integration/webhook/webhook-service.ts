// The webhook role of the service, as `serve` composes it: HTTP port, inbox, worker, accounts. For tests.
import { onTestFinished } from "vitest";
import { ApplyStripeEvents, STORED_EVENT_TYPES } from "../../../src/app/apply-stripe-events.ts";
import type { StripeObjects } from "../../../src/app/ports/accounts.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { stripeWebhookVerifier } from "../../../src/stripe/webhook-verifier.ts";
import { WEBHOOK_PATH } from "../../../src/webhook/app.ts";
import { startWebhookServer } from "../../../src/webhook/server.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";

export const SHARDS = 4;
export const SECRET = "whsec_test";

export interface LogLine {
  readonly level: string;
  readonly fields: object;
  readonly message: string;
}

export interface WebhookService {
  readonly url: string;
  readonly worker: ApplyStripeEvents;
  /** Customers that a flush was asked for, in order. */
  readonly flushed: (string | undefined)[];
  readonly log: LogLine[];
  /** Starts the worker's loop; without it, rounds are run by hand. */
  run(): void;
  close(): Promise<void>;
}

/** One process of it. Closed when the test ends, or earlier by close(). */
export async function startWebhookService(pool: Pool, objects: StripeObjects): Promise<WebhookService> {
  const log: LogLine[] = [];
  const logAs = (level: string) => (fields: object, message: string) => void log.push({ level, fields, message });
  const logger = { debug: logAs("debug"), info: logAs("info"), warn: logAs("warn"), error: logAs("error") };
  const clock = testClock();
  const inbox = postgresStripeEventInbox(pool);
  const flushed: (string | undefined)[] = [];
  const worker = new ApplyStripeEvents({
    inbox,
    objects,
    accounts: postgresAccounts(pool, { catalog: testCatalog(), shardCount: SHARDS, logger }),
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
  const url = `http://127.0.0.1:${server.port}${WEBHOOK_PATH}`;
  const run = () => {
    running = worker.run(stop.signal);
  };
  return { url, worker, flushed, log, run, close };
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
      "SELECT invoice_id, stripe_customer_id, subscription_id, status, payment_failed_at FROM invoice ORDER BY 1",
    ),
    boundaries: await rows("SELECT customer_id, boundary FROM period_boundary ORDER BY 1, 2"),
  };
}
