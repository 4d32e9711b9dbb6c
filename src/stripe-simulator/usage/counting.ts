// A good event enters the book. Answers and events of every way in come from here.
import type { Account } from "../state/account.ts";
import type { GoodEvent, SentEvent } from "./meter-event-checks.ts";
import type { Inlet, MeterEventObject } from "./usage-book.ts";

const WINDOW_SECONDS = { hour: 3_600, day: 86_400 };

/** Where an event came in, and when. */
export interface Receipt {
  readonly inlet: Inlet;
  readonly receivedMs: number;
}

/** The event as v1 renders it. Never changes. */
export function meterEventObject(sent: SentEvent, receivedMs: number): MeterEventObject {
  return Object.freeze({
    object: "billing.meter_event",
    created: Math.floor(receivedMs / 1_000),
    event_name: sent.event_name,
    identifier: sent.identifier,
    livemode: false,
    payload: Object.freeze(sent.payload),
    timestamp: sent.timestamp,
  });
}

/** Counts an event, and takes its identifier. */
export function countEvent(account: Account, object: MeterEventObject, good: GoodEvent, receipt: Receipt): void {
  const { meter, customerId, value } = good;
  account.identifiers.take(object.identifier, receipt.receivedMs, account.settings.identifierKeptMs);
  const window = meter.event_time_window === null ? undefined : WINDOW_SECONDS[meter.event_time_window];
  const lag = account.lags();
  account.usage.add({ object, meterId: meter.id, customerId, value, ...receipt, lag, fate: "counted" }, window);
}

/** Whether an event received now, or at `receivedMs`, repeats an identifier. */
export function isDuplicate(account: Account, identifier: string, receivedMs = account.nowMs): boolean {
  return account.identifiers.isTaken(identifier, receivedMs, account.settings.identifierKeptMs);
}
