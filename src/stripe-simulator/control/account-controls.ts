// Changes to the account that Stripe has no call for: routes under /_simulator/ that go through the journal like any other.
import { z } from "zod";
import { renderInvoice } from "../billing/invoice.ts";
import { failPayment, noteCreationDelivered, noteCreationGivenUp, payInvoice } from "../billing/invoicing.ts";
import { endSubscription } from "../billing/renewal.ts";
import { renderSubscription, setSubscriptionStatus } from "../billing/subscription.ts";
import { type Route, route } from "../http/router.ts";
import { settingsSchema } from "../state/settings.ts";
import { configureEndpoints, ROLLED_SECRET_MS_MAX, renderEndpoint, rollSecret } from "../webhooks/endpoints.ts";

/** Paths of the internal commands. */
export const CLOCK_PATH = "/_simulator/internal/clock";
export const ENDPOINTS_PATH = "/_simulator/internal/endpoints";
export const DELIVERIES_PATH = "/_simulator/internal/deliveries";

const clock = z.strictObject({ offsetMs: z.number(), frozenAtMs: z.number().nullable() });
const endpoints = z.strictObject({
  endpoints: z.array(
    z.strictObject({
      url: z.string(),
      secret: z.string(),
      payload: z.enum(["snapshot", "thin"]).optional(),
      enabledEvents: z.array(z.string()).optional(),
    }),
  ),
});
const delivery = z.strictObject({ event: z.string(), endpoint: z.string(), delivered: z.boolean() });
const status = z.strictObject({
  status: z.enum(["active", "past_due", "canceled", "unpaid", "trialing", "paused"]),
});
const roll = z.strictObject({
  secret: z.string().startsWith("whsec_").optional(),
  keep_ms: z.number().int().min(0).max(ROLLED_SECRET_MS_MAX).optional(),
});
const payments = z.strictObject({ outcome: z.enum(["succeed", "fail"]), customer: z.string().optional() });

export const accountControlRoutes: readonly Route[] = [
  route("POST", CLOCK_PATH, clock, ({ account, params }) => {
    account.clockSetting = params;
    return params;
  }),
  route("POST", ENDPOINTS_PATH, endpoints, ({ account, params }) => {
    configureEndpoints(account, params.endpoints);
    return {};
  }),
  route("POST", DELIVERIES_PATH, delivery, ({ account, params }) => {
    const key = `${params.event} ${params.endpoint}`;
    const pending = account.deliveries.get(key);
    if (pending === undefined) return {};
    account.deliveries.delete(key);
    const { event } = pending;
    if (event.object === "v2.core.event") return {};
    if (params.delivered) event.pending_webhooks -= 1;
    if (event.type !== "invoice.created" || !("id" in event.data.object)) return {};
    if (![...account.deliveries.keys()].some((other) => other.startsWith(`${event.id} `))) {
      const note = event.pending_webhooks === 0 ? noteCreationDelivered : noteCreationGivenUp;
      note(account, String(event.data.object.id));
    }
    return {};
  }),
  route("POST", "/_simulator/settings", settingsSchema.partial(), ({ account, params }) => {
    const given = Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
    account.settings = settingsSchema.parse({ ...account.settings, ...given });
    return account.settings;
  }),
  route("POST", "/_simulator/webhook_endpoints/:id/roll_secret", roll, ({ account, path, params }) => {
    const keepMs = params.keep_ms ?? ROLLED_SECRET_MS_MAX;
    const endpoint = rollSecret(account, path[0] ?? "", keepMs, params.secret);
    return { ...renderEndpoint(endpoint), secret: endpoint.secret };
  }),
  route("POST", "/_simulator/payments", payments, ({ account, params }) => {
    const payer = params.customer ?? "*";
    if (params.outcome === "fail") account.failingPayers.add(payer);
    else if (payer === "*") account.failingPayers.clear();
    else account.failingPayers.delete(payer);
    return { failing: [...account.failingPayers] };
  }),
  route("POST", "/_simulator/subscriptions/:id", status, ({ account, path, params }) => {
    const subscription = account.subscriptions.get(path[0] ?? "");
    if (params.status !== "canceled") setSubscriptionStatus(account, subscription, params.status);
    else if (subscription.status !== "canceled") endSubscription(account, subscription);
    return renderSubscription(subscription);
  }),
  route("POST", "/_simulator/invoices/:id/pay", z.strictObject({}), ({ account, path }) => {
    const invoice = account.invoices.get(path[0] ?? "");
    payInvoice(account, invoice);
    return renderInvoice(account, invoice);
  }),
  route("POST", "/_simulator/invoices/:id/fail", z.strictObject({}), ({ account, path }) => {
    const invoice = account.invoices.get(path[0] ?? "");
    failPayment(account, invoice);
    return renderInvoice(account, invoice);
  }),
];
