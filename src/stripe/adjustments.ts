// Cancelling what Stripe counted: v1 meter event adjustments, for events of either sink.
import type Stripe from "stripe";
import type { Report, SinkOutcome } from "../domain/report.ts";
import { outcomeOfError } from "./outcome.ts";
import { within } from "./within.ts";

type Adjustment = Stripe.Response<Stripe.Billing.MeterEventAdjustment>;

/**
 * Cancels the event that `report` names as its origin, with the report's own identifier as idempotency key. Stripe does so within 24 h of
 * receiving the event; past that, or where it knows of no such event, "refused" with code cannot_cancel. A second cancel of the same event
 * is a "duplicate". Never rejects; an abort of `signal` makes the outcome "unknown".
 */
export async function cancelEvent(stripe: Stripe, report: Report, signal: AbortSignal): Promise<SinkOutcome> {
  const { origin, eventName, identifier } = report;
  if (origin === undefined) return { kind: "refused", code: "cannot_cancel", message: "it names no event to cancel" };
  try {
    const call = stripe.billing.meterEventAdjustments.create(
      { event_name: eventName, type: "cancel", cancel: { identifier: origin } },
      { idempotencyKey: identifier },
    );
    return outcomeOfAnswer(await within(call, signal), origin);
  } catch (error) {
    return outcomeOfError(error, "cancel");
  }
}

/** "pending" is as good as "complete": the cancel was taken. As for events, only the object itself says so. */
function outcomeOfAnswer(adjustment: Adjustment, origin: string): SinkOutcome {
  const isOurs = adjustment.object === "billing.meter_event_adjustment" && adjustment.cancel?.identifier === origin;
  if (isOurs) return { kind: "accepted" };
  return { kind: "unknown", message: `HTTP ${adjustment.lastResponse.statusCode} without the adjustment` };
}
