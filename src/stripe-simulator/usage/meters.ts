// Billing meters: /v1/billing/meters.
import { z } from "zod";
import { params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { pagingShape } from "../state/collection.ts";
import { summariesRoute } from "./summaries.ts";
import type { Formula } from "./usage-book.ts";

/** `billing.meter`, as Stripe renders it. Only display_name and the status ever change. */
export interface Meter {
  readonly id: string;
  readonly object: "billing.meter";
  readonly created: number;
  readonly customer_mapping: { readonly event_payload_key: string; readonly type: "by_id" };
  readonly default_aggregation: { readonly formula: Formula };
  display_name: string;
  readonly event_name: string;
  readonly event_time_window: "day" | "hour" | null;
  readonly livemode: false;
  status: "active" | "inactive";
  status_transitions: { readonly deactivated_at: number | null };
  updated: number;
  readonly value_settings: { readonly event_payload_key: string };
}

const createMeter = params({
  display_name: text(250),
  event_name: text(100),
  default_aggregation: z.strictObject({ formula: z.enum(["count", "last", "sum"]) }),
  customer_mapping: z.strictObject({ event_payload_key: text(100), type: z.enum(["by_id"]) }).optional(),
  event_time_window: z.enum(["day", "hour"]).optional(),
  value_settings: z.strictObject({ event_payload_key: text(100) }).optional(),
});

function create(account: Account, sent: z.infer<typeof createMeter>): Meter {
  if (account.meterByEventName(sent.event_name) !== undefined) {
    throw badRequest(`A meter with the event name "${sent.event_name}" already exists.`, { param: "event_name" });
  }
  const meter = account.meters.add({
    id: account.newId("mtr_test_"),
    object: "billing.meter",
    created: account.now,
    customer_mapping: {
      event_payload_key: sent.customer_mapping?.event_payload_key ?? "stripe_customer_id",
      type: "by_id",
    },
    default_aggregation: { formula: sent.default_aggregation.formula },
    display_name: sent.display_name,
    event_name: sent.event_name,
    event_time_window: sent.event_time_window ?? null,
    livemode: false,
    status: "active",
    status_transitions: { deactivated_at: null },
    updated: account.now,
    value_settings: { event_payload_key: sent.value_settings?.event_payload_key ?? "value" },
  });
  account.indexMeter(meter);
  account.emit("billing.meter.created", meter);
  return meter;
}

function setStatus(account: Account, id: string, status: Meter["status"]): Meter {
  const meter = account.meters.get(id);
  if (meter.status === status) throw badRequest(`This meter is already ${status}.`);
  meter.status = status;
  meter.status_transitions = { deactivated_at: status === "inactive" ? account.now : null };
  meter.updated = account.now;
  account.emit(`billing.meter.${status === "active" ? "reactivated" : "deactivated"}`, meter);
  return meter;
}

export const meterRoutes: readonly Route[] = [
  route("POST", "/v1/billing/meters", createMeter, (call) => create(call.account, call.params)),
  route(
    "GET",
    "/v1/billing/meters",
    params({ ...pagingShape, status: z.enum(["active", "inactive"]).optional() }),
    (call) =>
      call.account.meters.page(
        call.params,
        "/v1/billing/meters",
        (meter) => call.params.status === undefined || meter.status === call.params.status,
      ),
  ),
  route("GET", "/v1/billing/meters/:id", params({}), (call) => call.account.meters.get(call.path[0] ?? "")),
  route("POST", "/v1/billing/meters/:id", params({ display_name: text(250).optional() }), (call) => {
    const meter = call.account.meters.get(call.path[0] ?? "");
    if (call.params.display_name === undefined) return meter;
    const previous = { display_name: meter.display_name, updated: meter.updated };
    meter.display_name = call.params.display_name;
    meter.updated = call.account.now;
    call.account.emit("billing.meter.updated", meter, previous);
    return meter;
  }),
  route("POST", "/v1/billing/meters/:id/deactivate", params({}), (call) =>
    setStatus(call.account, call.path[0] ?? "", "inactive"),
  ),
  route("POST", "/v1/billing/meters/:id/reactivate", params({}), (call) =>
    setStatus(call.account, call.path[0] ?? "", "active"),
  ),
  summariesRoute,
];
