// The role "webhooks": takes Stripe's deliveries, and applies them.
import { ApplyStripeEvents, STORED_EVENT_TYPES } from "../app/apply-stripe-events.ts";
import { postgresAccounts } from "../postgres/accounts.ts";
import { postgresFlushRequests } from "../postgres/flush-requests.ts";
import { postgresMeterErrors } from "../postgres/meter-errors.ts";
import { postgresStripeEventInbox } from "../postgres/stripe-events.ts";
import { stripeObjects } from "../stripe/objects.ts";
import { stripeWebhookVerifier } from "../stripe/webhook-verifier.ts";
import { startWebhookServer } from "../webhook/server.ts";
import { startLoop } from "./background.ts";
import { SETTINGS } from "./config/settings.ts";
import { FLUSH_LEASE, openStripeOf } from "./flush-role.ts";
import type { Foundation } from "./foundation.ts";
import { httpServers } from "./http-server.ts";
import type { Closers } from "./lifecycle.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

const BODY_MAX_BYTES = 1_048_576;
const REQUEST_TIMEOUT_MS = 10_000;
/** With BODY_MAX_BYTES this bounds what senders whom nobody has proven yet can hold in memory. */
const CONNECTIONS_MAX = 100;
const STOP_GRACE_MS = 5_000;

/** Starts the worker, then listens. Resolves to the port. */
export async function startWebhooks(foundation: Foundation, closers: Closers): Promise<number> {
  const { config, catalog, deployment, pool, logger, metrics } = foundation;
  const thinSecrets = config.stripeThinWebhookSecrets;
  if (thinSecrets.length === 0)
    logger.warn(
      {},
      `Stripe's reports of meter events that it threw away are not heard: set ${SETTINGS.stripeThinWebhookSecrets.env}`,
    );
  const inbox = postgresStripeEventInbox(pool);
  const worker = new ApplyStripeEvents({
    inbox,
    objects: stripeObjects(openStripeOf(config), logger),
    accounts: postgresAccounts(pool, { catalog, shardCount: deployment.shardCount, logger }, FLUSH_LEASE),
    meterErrors: postgresMeterErrors(pool, FLUSH_LEASE),
    flushRequests: postgresFlushRequests(pool, FLUSH_LEASE),
    customerMetadataKey: config.customerMetadataKey,
    onHeld: (reason, reports) => metrics.flush.held(reason, reports),
    clock: SYSTEM_CLOCK,
    logger,
  });
  await startLoop(closers, "the webhook worker", (signal) => worker.run(signal));
  const server = await startWebhookServer({
    host: config.host,
    port: config.webhookPort,
    createServer: httpServers(foundation.tls?.for("webhook")),
    inbox,
    verifier: stripeWebhookVerifier(config.stripeWebhookSecrets, SYSTEM_CLOCK),
    thinVerifier: thinSecrets.length === 0 ? undefined : stripeWebhookVerifier(thinSecrets, SYSTEM_CLOCK),
    storedTypes: STORED_EVENT_TYPES,
    bodyMaxBytes: BODY_MAX_BYTES,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    connectionsMax: CONNECTIONS_MAX,
    onStored: () => worker.wake(),
    onDelivery: (outcome) => metrics.webhookDelivery(outcome),
    logger,
  });
  await closers.add("the webhook port", () => server.close(STOP_GRACE_MS));
  return server.port;
}
