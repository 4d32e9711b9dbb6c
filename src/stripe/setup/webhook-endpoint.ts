// The endpoint of snapshot events, found again by its URL.
import Stripe from "stripe";
import { createOnce, isThere } from "./create-once.ts";
import { READ, type SetupItem, WRITE } from "./item.ts";
import { describeUrl, missingEvents, sameUrl } from "./subscription.ts";

/** What the service needs to hear of: whose customer is whose, billing periods, and how invoices go. */
export const SNAPSHOT_EVENTS = [
  "customer.created",
  "customer.updated",
  "customer.deleted",
  "customer.subscription.created",
  "customer.subscription.updated",
  "customer.subscription.deleted",
  "customer.subscription.paused",
  "customer.subscription.resumed",
  "invoice.created",
  "invoice.updated",
  "invoice.finalized",
  "invoice.finalization_failed",
  "invoice.paid",
  "invoice.payment_failed",
  "invoice.voided",
  "invoice.marked_uncollectible",
  "invoice.deleted",
] as const satisfies Stripe.WebhookEndpointCreateParams.EnabledEvent[];

/** Finds the endpoint, creates it, or adds the events that it lacks; `dryRun` only says so. Rejects with the SDK's error. */
export async function ensureWebhookEndpoint(stripe: Stripe, url: string, dryRun: boolean): Promise<SetupItem> {
  const item = { what: "webhook endpoint", name: url } as const;
  const [found, ...others] = await endpointsAt(stripe, url);
  if (found === undefined) {
    if (dryRun) return { ...item, id: "", state: "would_create", note: `for ${SNAPSHOT_EVENTS.length} kinds of event` };
    const { id, secret } = await createOnce(creationOf(stripe, url));
    return { ...item, id, state: "created", note: "", secret };
  }
  const { id, api_version: version } = found;
  const notes = [
    ...(others.length === 0
      ? []
      : [`${describeUrl(others)}: each event comes as often, to no effect; delete all but one`]),
    ...(version === Stripe.API_VERSION
      ? []
      : [`speaks API version ${version ?? "of the account"}, fixed at its creation: no harm, only ids are read`]),
  ];
  if (found.status !== "enabled") {
    const note = "it is disabled, so that nothing is sent: enable it in Stripe";
    return { ...item, id, state: "cannot_change", note: [note, ...notes].join("; ") };
  }
  const missing = missingEvents(found.enabled_events, SNAPSHOT_EVENTS);
  if (missing.length === 0) return { ...item, id, state: "found", note: notes.join("; ") };
  const note = [`adds ${missing.join(", ")}`, ...notes].join("; ");
  if (dryRun) return { ...item, id, state: "would_change", note };
  const enabled_events = [...(found.enabled_events as Stripe.WebhookEndpointUpdateParams.EnabledEvent[]), ...missing];
  await stripe.webhookEndpoints.update(id, { enabled_events }, WRITE);
  return { ...item, id, state: "changed", note };
}

function creationOf(stripe: Stripe, url: string) {
  const content = {
    url,
    enabled_events: [...SNAPSHOT_EVENTS],
    // Else it would change with the account's, and the SDK's types would not be what comes.
    api_version: Stripe.API_VERSION,
    description: "Usage metering",
  };
  return {
    content: ["webhook endpoint", content],
    find: async () => (await endpointsAt(stripe, url))[0],
    create: (idempotencyKey: string) => stripe.webhookEndpoints.create(content, { ...WRITE, idempotencyKey }),
    exists: (id: string) => isThere(stripe.webhookEndpoints.retrieve(id, {}, READ)),
  };
}

/** Enabled ones first, then the oldest. */
async function endpointsAt(stripe: Stripe, url: string): Promise<Stripe.WebhookEndpoint[]> {
  const found: Stripe.WebhookEndpoint[] = [];
  for await (const endpoint of stripe.webhookEndpoints.list({ limit: 100 }, READ))
    if (sameUrl(endpoint.url, url)) found.push(endpoint);
  const rank = (endpoint: Stripe.WebhookEndpoint) => (endpoint.status === "enabled" ? 0 : 1);
  return found.sort((a, b) => rank(a) - rank(b) || a.created - b.created);
}
