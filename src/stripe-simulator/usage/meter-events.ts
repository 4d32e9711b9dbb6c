// v1 meter events and their adjustments: everything Stripe is known to check before it answers.
import { z } from "zod";
import { integer, params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest, noSuch } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import type { Meter } from "./meters.ts";
import { parseQuantity, SIGNIFICANT_DIGITS_MAX, significantDigits } from "./quantity.ts";
import type { MeterEventObject } from "./usage-book.ts";

const HOUR = 3_600;
const DAY = 24 * HOUR;
/** An event may lie this far back, a rolling window in seconds (observed). */
const PAST_MAX = 35 * DAY;
/** And this far ahead. */
const FUTURE_MAX = 300;

const createEvent = params({
  event_name: text(100),
  payload: z.record(z.string(), z.string()),
  identifier: text(100).optional(),
  timestamp: integer().optional(),
});

function create(account: Account, sent: z.infer<typeof createEvent>): MeterEventObject {
  const meter = account.meterByEventName(sent.event_name);
  if (meter === undefined || meter.status !== "active") {
    throw badRequest(`No active meter found for event name "${sent.event_name}".`);
  }
  const customerId = customerOf(account, meter, sent.payload);
  const value = quantityOf(account, meter, sent.payload);
  const timestamp = sent.timestamp ?? account.now;
  checkTimestamp(timestamp, account.now);
  const identifier = sent.identifier ?? account.newId("");
  if (account.isIdentifierTaken(identifier)) {
    // Exact, and without a code: observed in production and in test mode.
    throw badRequest(`An event already exists with identifier ${identifier}.`, {
      headers: { "stripe-should-retry": "false" },
    });
  }
  const object: MeterEventObject = Object.freeze({
    object: "billing.meter_event",
    created: account.now,
    event_name: meter.event_name,
    identifier,
    livemode: false,
    payload: Object.freeze({ ...sent.payload }),
    timestamp,
  });
  account.takeIdentifier(identifier);
  const windowSeconds = meter.event_time_window === null ? undefined : meter.event_time_window === "day" ? DAY : HOUR;
  account.usage.add(
    { object, meterId: meter.id, customerId, value, receivedMs: account.nowMs, fate: "counted" },
    windowSeconds,
  );
  return object;
}

function customerOf(account: Account, meter: Meter, payload: Readonly<Record<string, string>>): string {
  const key = meter.customer_mapping.event_payload_key;
  const customerId = payload[key];
  if (customerId === undefined || customerId === "") {
    throw badRequest(`Customer mapping key ${key} not found in payload.`, { param: "payload" });
  }
  const customer = account.customers.find(customerId);
  if (customer === undefined || customer.deleted) throw noSuch("customer", customerId, `payload[${key}]`);
  return customerId;
}

function quantityOf(account: Account, meter: Meter, payload: Readonly<Record<string, string>>): bigint {
  const key = meter.value_settings.event_payload_key;
  const sent = payload[key];
  if (sent === undefined || sent === "") {
    if (meter.default_aggregation.formula === "count") return parseQuantity("1") ?? 0n;
    throw badRequest(`Value key ${key} not found in payload.`, { param: "payload" });
  }
  const value = parseQuantity(sent);
  if (value === undefined || (sent.includes(".") && !account.settings.decimalValues)) {
    throw badRequest(`The value in the event payload must be a whole number. Received ${sent}.`, { param: "payload" });
  }
  if (significantDigits(sent) > SIGNIFICANT_DIGITS_MAX) {
    throw badRequest(
      `The value in the event payload can have at most ${SIGNIFICANT_DIGITS_MAX} digits. Received ${sent}.`,
      { param: "payload" },
    );
  }
  return value;
}

function checkTimestamp(timestamp: number, now: number): void {
  if (timestamp < now - PAST_MAX) {
    throw badRequest(
      "The event timestamp cannot be more than 35 days in past. " +
        `Expected a timestamp greater than or equal to ${now - PAST_MAX}.`,
      { param: "timestamp" },
    );
  }
  if (timestamp > now + FUTURE_MAX) {
    throw badRequest(
      "The event timestamp cannot be more than 5 minutes in the future. " +
        `Expected a timestamp less than or equal to ${now + FUTURE_MAX}.`,
      { param: "timestamp" },
    );
  }
}

const createAdjustment = params({
  event_name: text(100),
  type: z.enum(["cancel"]),
  cancel: z.strictObject({ identifier: text(100) }),
});

/** Cancels the newest event of an identifier, within 24 h of its receipt; the identifier stays taken. */
function adjust(account: Account, sent: z.infer<typeof createAdjustment>): object {
  const { identifier } = sent.cancel;
  const event = account.usage.withIdentifier(identifier).findLast((one) => one.object.event_name === sent.event_name);
  if (event === undefined) throw badRequest(`No meter event found with identifier ${identifier}.`);
  if (event.fate === "cancelled") throw badRequest(`The event with identifier ${identifier} was already cancelled.`);
  if (account.nowMs - event.receivedMs >= DAY * 1_000) {
    throw badRequest(`The event with identifier ${identifier} was received more than 24 hours ago.`);
  }
  account.usage.cancel(event);
  return {
    object: "billing.meter_event_adjustment",
    cancel: { identifier },
    event_name: sent.event_name,
    livemode: false,
    status: "pending",
    type: "cancel",
  };
}

export const meterEventRoutes: readonly Route[] = [
  route("POST", "/v1/billing/meter_events", createEvent, (call) => create(call.account, call.params)),
  route("POST", "/v1/billing/meter_event_adjustments", createAdjustment, (call) => adjust(call.account, call.params)),
];
