// v1 meter events: everything Stripe is known to check before it answers.
import { z } from "zod";
import { integer, params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest, type StripeError } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { adjustmentSchema, cancelEvent } from "./adjustments.ts";
import { dropEvent, takeUnchecked } from "./async-validation.ts";
import { countEvent, isDuplicate, meterEventObject } from "./counting.ts";
import { checkMeterEvent, type Problem } from "./meter-event-checks.ts";
import type { MeterEventObject } from "./usage-book.ts";

const createEvent = params({
  event_name: text(100),
  payload: z.record(z.string(), z.string()),
  identifier: text(100).optional(),
  timestamp: integer().optional(),
});

function create(account: Account, params: z.infer<typeof createEvent>): MeterEventObject {
  const { event_name, payload, timestamp = account.now, identifier = account.newId("") } = params;
  const sent = { event_name, payload, identifier, timestamp };
  const judged = checkMeterEvent(account, sent, account.nowMs);
  if (judged.kind !== "good") throw refusalOf(judged, event_name);
  if (isDuplicate(account, identifier)) {
    // Exact, and without a code: observed in production and in test mode.
    throw badRequest(`An event already exists with identifier ${identifier}.`, {
      headers: { "stripe-should-retry": "false" },
    });
  }
  const object = meterEventObject(sent, account.nowMs);
  if (account.fate === undefined) countEvent(account, object, judged, { inlet: "v1", receivedMs: account.nowMs });
  else if (account.fate.kind === "dropped") dropEvent(account, identifier, account.fate);
  else takeUnchecked(account, sent, "v1", account.fate);
  return object;
}

function refusalOf({ kind, message, param }: Problem, eventName: string): StripeError {
  if (kind === "no_meter" || kind === "archived_meter") {
    return badRequest(`No active meter found for event name "${eventName}".`);
  }
  return badRequest(message, kind === "customer_not_found" ? { code: "resource_missing", param } : { param });
}

/** The identifier stays taken. */
function adjust(account: Account, sent: z.infer<typeof adjustmentSchema>): object {
  const refusal = cancelEvent(account, sent);
  if (refusal !== undefined) throw badRequest(refusal);
  return {
    object: "billing.meter_event_adjustment",
    cancel: sent.cancel,
    event_name: sent.event_name,
    livemode: false,
    status: "pending",
    type: "cancel",
  };
}

export const meterEventRoutes: readonly Route[] = [
  route("POST", "/v1/billing/meter_events", createEvent, (call) => create(call.account, call.params)),
  route("POST", "/v1/billing/meter_event_adjustments", params(adjustmentSchema.shape), (call) =>
    adjust(call.account, call.params),
  ),
];
