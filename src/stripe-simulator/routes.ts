// Every route of Stripe's that the simulator has, and its own journaled ones.
import { customerRoutes } from "./billing/customers.ts";
import { invoiceRoutes } from "./billing/invoices.ts";
import { priceRoutes } from "./billing/prices.ts";
import { productRoutes } from "./billing/products.ts";
import { subscriptionRoutes } from "./billing/subscriptions.ts";
import { accountControlRoutes } from "./control/account-controls.ts";
import { Router } from "./http/router.ts";
import { meterEventSessionRoutes } from "./usage/meter-event-session.ts";
import { meterEventRoutes } from "./usage/meter-events.ts";
import { meterRoutes } from "./usage/meters.ts";
import { v2MeterEventRoutes } from "./usage/v2-meter-events.ts";
import { webhookEndpointRoutes } from "./webhooks/endpoints.ts";
import { eventDestinationRoutes } from "./webhooks/event-destinations.ts";
import { eventRoutes } from "./webhooks/snapshot-event.ts";
import { thinEventRoutes } from "./webhooks/thin-event.ts";

/** The route table of the account. */
export function accountRouter(): Router {
  return new Router([
    ...meterEventRoutes,
    ...v2MeterEventRoutes,
    ...meterEventSessionRoutes,
    ...meterRoutes,
    ...customerRoutes,
    ...productRoutes,
    ...priceRoutes,
    ...subscriptionRoutes,
    ...invoiceRoutes,
    ...webhookEndpointRoutes,
    ...eventRoutes,
    ...thinEventRoutes,
    ...eventDestinationRoutes,
    ...accountControlRoutes,
  ]);
}
