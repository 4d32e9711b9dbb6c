// v2 meter events: one by one with checks at once, or by the hundred with none.
import { z } from "zod";
import { text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest } from "../http/stripe-error.ts";
import { instant, toRfc3339 } from "../http/v2.ts";
import type { Account } from "../state/account.ts";
import { adjustmentSchema, cancelEvent } from "./adjustments.ts";
import { dropEvent, takeUnchecked } from "./async-validation.ts";
import { countEvent, isDuplicate, meterEventObject } from "./counting.ts";
import { checkMeterEvent, type Problem, type SentEvent } from "./meter-event-checks.ts";
import { STREAM_PATH } from "./meter-event-paths.ts";

const EVENTS_MAX = 100;

const eventSchema = z.strictObject({
  event_name: text(100),
  payload: z.record(z.string(), z.string()),
  identifier: text(100).optional(),
  timestamp: instant().optional(),
});

/** Seconds are what usage goes by; v2 takes and shows milliseconds. */
function sentOf(account: Account, params: z.infer<typeof eventSchema>): SentEvent {
  const { event_name, payload, identifier = account.newId("") } = params;
  return { event_name, payload, identifier, timestamp: Math.floor((params.timestamp ?? account.nowMs) / 1_000) };
}

/** Codes of Stripe's table for this call. Those of times are not in it; a customer that is not there is no error of it at all. */
const CODES: Readonly<Record<Exclude<Problem["kind"], "customer_not_found">, string>> = {
  no_meter: "no_meter",
  archived_meter: "archived_meter",
  no_customer: "payload_no_customer_defined",
  no_value: "payload_no_value_defined",
  invalid_value: "payload_invalid_value",
  too_many_digits: "payload_invalid_value",
  too_old: "timestamp_too_far_in_past",
  too_far_ahead: "timestamp_in_future",
};

function create(account: Account, params: z.infer<typeof eventSchema>): object {
  const sent = sentOf(account, params);
  const judged = checkMeterEvent(account, sent, account.nowMs);
  if (judged.kind !== "good" && judged.kind !== "customer_not_found") {
    throw badRequest(judged.message, { code: CODES[judged.kind] });
  }
  if (isDuplicate(account, sent.identifier)) {
    throw badRequest(`An event already exists with identifier ${sent.identifier}.`, { code: "duplicate_meter_event" });
  }
  const { fate, nowMs } = account;
  if (fate?.kind === "dropped") dropEvent(account, sent.identifier, fate);
  else if (judged.kind !== "good" || fate !== undefined) takeUnchecked(account, sent, "v2", fate);
  else countEvent(account, meterEventObject(sent, nowMs), judged, { inlet: "v2", receivedMs: nowMs });
  return Object.freeze({
    object: "v2.billing.meter_event",
    created: toRfc3339(nowMs),
    event_name: sent.event_name,
    identifier: sent.identifier,
    livemode: false,
    payload: sent.payload,
    timestamp: toRfc3339(params.timestamp ?? nowMs),
  });
}

const streamSchema = z.strictObject({ events: z.array(eventSchema).min(1).max(EVENTS_MAX) });

const NOTHING = Object.freeze({});

/** Only the shape is checked. What comes of the events is seen in summaries, and in error reports. */
function stream(account: Account, { events }: z.infer<typeof streamSchema>): object {
  const { fate } = account;
  const fated = fate === undefined ? 0 : (fate.events ?? EVENTS_MAX);
  for (const [index, params] of events.entries()) {
    takeUnchecked(account, sentOf(account, params), "stream", index < fated ? fate : undefined);
  }
  return NOTHING;
}

function adjust(account: Account, sent: z.infer<typeof adjustmentSchema>): object {
  const refusal = cancelEvent(account, sent);
  if (refusal !== undefined) throw badRequest(refusal, { code: "invalid_cancel_configuration" });
  return {
    id: account.newId("mtr_event_adj_test_"),
    object: "v2.billing.meter_event_adjustment",
    cancel: sent.cancel,
    created: toRfc3339(account.nowMs),
    event_name: sent.event_name,
    livemode: false,
    status: "pending",
    type: "cancel",
  };
}

export const v2MeterEventRoutes: readonly Route[] = [
  route("POST", "/v2/billing/meter_events", eventSchema, (call) => create(call.account, call.params)),
  route("POST", STREAM_PATH, streamSchema, (call) => stream(call.account, call.params)),
  route("POST", "/v2/billing/meter_event_adjustments", adjustmentSchema, (call) => adjust(call.account, call.params)),
];
