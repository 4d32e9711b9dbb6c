// What happens to events after they were answered: validation in ten-second windows, where duplicates vanish, good ones are
// counted and bad ones are thrown away and reported.
import type { Account } from "../state/account.ts";
import { countEvent, isDuplicate, meterEventObject } from "./counting.ts";
import type { ErrorCode } from "./error-codes.ts";
import { ErrorReport } from "./error-report.ts";
import { checkMeterEvent, type Problem, type SentEvent } from "./meter-event-checks.ts";
import type { Inlet } from "./usage-book.ts";

const WINDOW_MS = 10_000;

/** A fault: what becomes of the first `events` of a request's meter events (default: all), although they are good. */
export type MeterEventFate =
  | { readonly kind: "dropped"; readonly events?: number | undefined; readonly burnt: boolean }
  | { readonly kind: "rejected"; readonly events?: number | undefined; readonly code: ErrorCode };

/** An event that was taken and is not validated yet. */
interface TakenEvent {
  readonly sent: SentEvent;
  readonly inlet: Inlet;
  readonly receivedMs: number;
  readonly rejectedAs: ErrorCode | undefined;
}

/** The events that wait, by the start of their window, and what became of those before them. */
export class Unvalidated {
  readonly windows = new Map<number, TakenEvent[]>();
  readonly counts = { taken: 0, counted: 0, duplicate: 0, rejected: 0, dropped: 0 };
}

/** Takes an event unchecked. A fate other than its own may be in store for it: see MeterEventFate. */
export function takeUnchecked(account: Account, sent: SentEvent, inlet: Inlet, fate?: MeterEventFate): void {
  const { windows, counts } = account.unvalidated;
  counts.taken += 1;
  if (fate?.kind === "dropped") {
    dropEvent(account, sent.identifier, fate);
    return;
  }
  const start = Math.floor((account.nowMs + account.settings.validationDelayMs) / WINDOW_MS) * WINDOW_MS;
  let window = windows.get(start);
  if (window === undefined) {
    window = [];
    windows.set(start, window);
    const run = () => validate(account, start);
    account.schedule.put({ key: `validate ${start}`, dueMs: start + WINDOW_MS, run });
  }
  window.push({ sent, inlet, receivedMs: account.nowMs, rejectedAs: fate?.code });
}

/** Loses an event without a trace, or with its identifier gone for good. */
export function dropEvent(account: Account, identifier: string, fate: { readonly burnt: boolean }): void {
  account.unvalidated.counts.dropped += 1;
  if (fate.burnt) account.identifiers.take(identifier, account.nowMs, account.settings.identifierKeptMs);
}

function validate(account: Account, start: number): void {
  const { windows, counts } = account.unvalidated;
  const report = new ErrorReport({ start, end: start + WINDOW_MS }, account.settings.errorSamplesMax);
  for (const { sent, inlet, receivedMs, rejectedAs } of windows.get(start) ?? []) {
    if (isDuplicate(account, sent.identifier, receivedMs)) {
      counts.duplicate += 1;
      continue;
    }
    const judged = checkMeterEvent(account, sent, receivedMs);
    if (judged.kind === "good" && rejectedAs === undefined) {
      counts.counted += 1;
      countEvent(account, meterEventObject(sent, receivedMs), judged, { inlet, receivedMs });
      continue;
    }
    counts.rejected += 1;
    if (account.settings.rejectedIdentifierKept) {
      account.identifiers.take(sent.identifier, receivedMs, account.settings.identifierKeptMs);
    }
    const told = judged.kind === "good" ? { message: `The event was rejected: ${rejectedAs}.` } : judged;
    const meter = rejectedAs === "no_meter" ? undefined : judged.meter;
    report.add(meter?.id, rejectedAs ?? codeOf(judged), told.message, sent.identifier);
  }
  windows.delete(start);
  if (report.isEmpty) return;
  const dueMs = account.nowMs + account.settings.errorReportDelayMs;
  account.schedule.put({ key: `report errors ${start}`, dueMs, run: () => report.emit(account) });
}

const CODES: Readonly<Record<Problem["kind"], ErrorCode>> = {
  no_meter: "no_meter",
  archived_meter: "archived_meter",
  no_customer: "meter_event_no_customer_defined",
  customer_not_found: "meter_event_customer_not_found",
  // A code of its own for a value that is not there has been retired.
  no_value: "meter_event_invalid_value",
  invalid_value: "meter_event_invalid_value",
  too_many_digits: "meter_event_value_too_many_digits",
  too_old: "timestamp_too_far_in_past",
  too_far_ahead: "timestamp_in_future",
};

function codeOf(judged: { readonly kind: Problem["kind"] | "good" }): ErrorCode {
  return judged.kind === "good" ? "meter_event_invalid_value" : CODES[judged.kind];
}
