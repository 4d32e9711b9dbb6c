// Reports as Stripe v1 meter events: one call a report, validated at once.
import type Stripe from "stripe";
import type { MeterSink } from "../app/ports/reports.ts";
import type { Report, SinkOutcome } from "../domain/report.ts";
import { cancelEvent } from "./adjustments.ts";
import { eventPayload } from "./event-payload.ts";
import { outcomeOfError } from "./outcome.ts";
import { within } from "./within.ts";

/**
 * The sink "v1". A call takes at most `limitMs` in all, however slowly the answer drips in; past it, and on abort, the outcome is
 * "unknown" and the connection is left to the client's own timeout. Meters must have the default mapping (see meters.ts). Serial, since
 * one concurrent call for a customer and meter is all that some of Stripe's pages allow.
 */
export function stripeMeterEvents(stripe: Stripe, limitMs: number): MeterSink {
  const send = (report: Report, signal: AbortSignal): Promise<SinkOutcome> | SinkOutcome => {
    if (signal.aborted) return { kind: "unknown", message: "aborted before it was sent" };
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
    return report.kind === "cancel" ? cancelEvent(stripe, report, inTime) : sendEvent(stripe, report, inTime);
  };
  return {
    name: "v1",
    batchMax: 1,
    serial: true,
    send: (reports, signal) => Promise.all(reports.map((report) => send(report, signal))),
  };
}

async function sendEvent(stripe: Stripe, report: Report, signal: AbortSignal): Promise<SinkOutcome> {
  try {
    return outcomeOfAnswer(await within(create(stripe, report), signal), report);
  } catch (error) {
    return outcomeOfError(error, "event");
  }
}

function create(stripe: Stripe, report: Report): Promise<Stripe.Response<Stripe.Billing.MeterEvent>> {
  return stripe.billing.meterEvents.create(
    {
      event_name: report.eventName,
      identifier: report.identifier,
      timestamp: report.timestampMs / 1000,
      payload: eventPayload(report),
    },
    { idempotencyKey: report.identifier },
  );
}

/** The SDK takes any JSON without an "error" for a success, whatever its status: only the event itself says that it was taken. */
function outcomeOfAnswer(event: Stripe.Response<Stripe.Billing.MeterEvent>, report: Report): SinkOutcome {
  if (event.object === "billing.meter_event" && event.identifier === report.identifier) return { kind: "accepted" };
  return { kind: "unknown", message: `HTTP ${event.lastResponse.statusCode} without the meter event` };
}
