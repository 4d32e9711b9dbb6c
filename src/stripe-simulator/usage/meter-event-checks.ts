// What makes a meter event good or not, whichever way it came in. Each way in says it in words of its own.
import type { Account } from "../state/account.ts";
import type { Meter } from "./meters.ts";
import { parseQuantity, QUANTITY_ONE, SIGNIFICANT_DIGITS_MAX, significantDigits } from "./quantity.ts";

const DAY = 86_400;
/** An event may lie this far back, a rolling window in seconds (observed). */
const PAST_MAX = 35 * DAY;
/** And this far ahead. */
const FUTURE_MAX = 300;

/** A meter event as sent, whatever its encoding was. `timestamp` in unix seconds. */
export interface SentEvent {
  readonly event_name: string;
  readonly payload: Readonly<Record<string, string>>;
  readonly identifier: string;
  readonly timestamp: number;
}

/** A good event: what it counts for. `value` is scaled, see quantity.ts. */
export interface GoodEvent {
  readonly kind: "good";
  readonly meter: Meter;
  readonly customerId: string;
  readonly value: bigint;
}

/** Why an event is not good. */
export interface Problem {
  readonly kind:
    | "no_meter"
    | "archived_meter"
    | "no_customer"
    | "customer_not_found"
    | "no_value"
    | "invalid_value"
    | "too_many_digits"
    | "too_old"
    | "too_far_ahead";
  /** The meter of that name, if there is one. */
  readonly meter?: Meter | undefined;
  /** For people, in Stripe's words where these are known. */
  readonly message: string;
  /** The payload key or the parameter concerned. */
  readonly param: string;
}

/** Judges an event as the account is now. It must not be ahead of `receivedMs`, nor too old now, which may be later. */
export function checkMeterEvent(account: Account, sent: SentEvent, receivedMs: number): GoodEvent | Problem {
  const meter = account.meterByEventName(sent.event_name);
  if (meter?.status !== "active") {
    const message = `No meter was found matching event_name ${sent.event_name}.`;
    if (meter === undefined) return { kind: "no_meter", message, param: "event_name" };
    return {
      kind: "archived_meter",
      meter,
      message: `The meter of ${sent.event_name} is archived.`,
      param: "event_name",
    };
  }
  const customerId = customerOf(account, meter, sent.payload);
  if (typeof customerId === "object") return customerId;
  const value = quantityOf(account, meter, sent.payload);
  if (typeof value === "object") return value;
  return (
    timeProblem(meter, sent.timestamp, account.now, Math.floor(receivedMs / 1_000)) ?? {
      kind: "good",
      meter,
      customerId,
      value,
    }
  );
}

function customerOf(account: Account, meter: Meter, payload: SentEvent["payload"]): string | Problem {
  const key = meter.customer_mapping.event_payload_key;
  const customerId = payload[key];
  if (customerId === undefined || customerId === "") {
    const message = `Customer mapping key ${key} not found in payload.`;
    return { kind: "no_customer", meter, message, param: "payload" };
  }
  const customer = account.customers.find(customerId);
  if (customer !== undefined && !customer.deleted) return customerId;
  return { kind: "customer_not_found", meter, message: `No such customer: '${customerId}'`, param: `payload[${key}]` };
}

function quantityOf(account: Account, meter: Meter, payload: SentEvent["payload"]): bigint | Problem {
  const key = meter.value_settings.event_payload_key;
  const sent = payload[key];
  if (sent === undefined || sent === "") {
    if (meter.default_aggregation.formula === "count") return QUANTITY_ONE;
    return { kind: "no_value", meter, message: `Value key ${key} not found in payload.`, param: "payload" };
  }
  const value = parseQuantity(sent);
  if (value === undefined || (sent.includes(".") && !account.settings.decimalValues)) {
    const message = `The value in the event payload must be a whole number. Received ${sent}.`;
    return { kind: "invalid_value", meter, message, param: "payload" };
  }
  if (significantDigits(sent) > SIGNIFICANT_DIGITS_MAX) {
    const message = `The value in the event payload can have at most ${SIGNIFICANT_DIGITS_MAX} digits. Received ${sent}.`;
    return { kind: "too_many_digits", meter, message, param: "payload" };
  }
  return value;
}

function timeProblem(meter: Meter, timestamp: number, now: number, receivedAt: number): Problem | undefined {
  if (timestamp < now - PAST_MAX) {
    const message =
      "The event timestamp cannot be more than 35 days in past. " +
      `Expected a timestamp greater than or equal to ${now - PAST_MAX}.`;
    return { kind: "too_old", meter, message, param: "timestamp" };
  }
  if (timestamp > receivedAt + FUTURE_MAX) {
    const message =
      "The event timestamp cannot be more than 5 minutes in the future. " +
      `Expected a timestamp less than or equal to ${receivedAt + FUTURE_MAX}.`;
    return { kind: "too_far_ahead", meter, message, param: "timestamp" };
  }
  return undefined;
}
