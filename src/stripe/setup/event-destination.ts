// The destination of thin events, found again by its URL.
import type Stripe from "stripe";
import { createOnce, isThere } from "./create-once.ts";
import { READ, type SetupItem, WRITE } from "./item.ts";
import { describeUrl, missingEvents, sameUrl } from "./subscription.ts";

/** Reports of usage that Stripe took and then threw away. */
export const THIN_EVENTS = ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"] as const;

/** Finds the destination, creates it, or adds the events that it lacks; `dryRun` only says so. Rejects with the SDK's error. */
export async function ensureEventDestination(stripe: Stripe, url: string, dryRun: boolean): Promise<SetupItem> {
  const item = { what: "event destination", name: url } as const;
  const [found, ...others] = await destinationsAt(stripe, url);
  if (found === undefined) {
    if (dryRun)
      return { ...item, id: "", state: "would_create", note: `for ${THIN_EVENTS.length} kinds of thin event` };
    const created = await createOnce(creationOf(stripe, url));
    return { ...item, id: created.id, state: "created", note: "", secret: created.webhook_endpoint?.signing_secret };
  }
  const { id } = found;
  const double =
    others.length === 0 ? [] : [`${describeUrl(others)}: each event comes as often, to no effect; delete all but one`];
  if (found.status !== "enabled") {
    const note = "it is disabled, so that nothing is sent: enable it in Stripe";
    return { ...item, id, state: "cannot_change", note: [note, ...double].join("; ") };
  }
  const missing = missingEvents(found.enabled_events, THIN_EVENTS);
  if (missing.length === 0) return { ...item, id, state: "found", note: double.join("; ") };
  const note = [`adds ${missing.join(", ")}`, ...double].join("; ");
  if (dryRun) return { ...item, id, state: "would_change", note };
  await stripe.v2.core.eventDestinations.update(id, { enabled_events: [...found.enabled_events, ...missing] }, WRITE);
  return { ...item, id, state: "changed", note };
}

function creationOf(stripe: Stripe, url: string) {
  const content = {
    name: "Usage metering",
    type: "webhook_endpoint" as const,
    event_payload: "thin" as const,
    enabled_events: [...THIN_EVENTS],
    webhook_endpoint: { url },
    include: ["webhook_endpoint.signing_secret" as const, "webhook_endpoint.url" as const],
  };
  return {
    content: ["event destination", content],
    find: async () => (await destinationsAt(stripe, url))[0],
    create: (idempotencyKey: string) => stripe.v2.core.eventDestinations.create(content, { ...WRITE, idempotencyKey }),
    exists: (id: string) => isThere(stripe.v2.core.eventDestinations.retrieve(id, {}, READ)),
  };
}

/** Those for thin events; enabled ones first, then the oldest. */
async function destinationsAt(stripe: Stripe, url: string): Promise<Stripe.V2.Core.EventDestination[]> {
  const found: Stripe.V2.Core.EventDestination[] = [];
  const all = stripe.v2.core.eventDestinations.list({ limit: 100, include: ["webhook_endpoint.url"] }, READ);
  for await (const destination of all)
    if (destination.event_payload === "thin" && sameUrl(destination.webhook_endpoint?.url, url))
      found.push(destination);
  const rank = (destination: Stripe.V2.Core.EventDestination) => (destination.status === "enabled" ? 0 : 1);
  return found.sort((a, b) => rank(a) - rank(b) || Date.parse(a.created) - Date.parse(b.created));
}
