// Reports as Stripe v1 meter events: one call a report, validated at once.
import type Stripe from "stripe";
import type { MeterSink } from "../app/ports/reports.ts";
import type { Report, SinkOutcome } from "../domain/report.ts";
import { outcomeOfError } from "./outcome.ts";

/**
 * The sink. A call takes at most `limitMs` in all, however slowly the answer drips in; past it, and on abort, the outcome is "unknown" and
 * the connection is left to the client's own timeout. Meters must have the default mapping (see meters.ts).
 */
export function stripeMeterEvents(stripe: Stripe, limitMs: number): MeterSink {
  const send = async (report: Report, signal: AbortSignal): Promise<SinkOutcome> => {
    if (signal.aborted) return { kind: "unknown", message: "aborted before it was sent" };
    try {
      return outcomeOfAnswer(
        await within(create(stripe, report), AbortSignal.any([signal, AbortSignal.timeout(limitMs)])),
        report,
      );
    } catch (error) {
      return outcomeOfError(error);
    }
  };
  return {
    name: "v1",
    batchMax: 1,
    serial: true,
    send: (reports, signal) => Promise.all(reports.map((report) => send(report, signal))),
  };
}

function create(stripe: Stripe, report: Report): Promise<Stripe.Response<Stripe.Billing.MeterEvent>> {
  return stripe.billing.meterEvents.create(
    {
      event_name: report.eventName,
      identifier: report.identifier,
      timestamp: report.timestampMs / 1000,
      payload: {
        ...(JSON.parse(report.payload) as Record<string, string>),
        stripe_customer_id: report.stripeCustomerId,
        value: report.value.toString(),
      },
    },
    { idempotencyKey: report.identifier },
  );
}

/** The SDK takes any JSON without an "error" for a success, whatever its status: only the event itself says that it was taken. */
function outcomeOfAnswer(event: Stripe.Response<Stripe.Billing.MeterEvent>, report: Report): SinkOutcome {
  if (event.object === "billing.meter_event" && event.identifier === report.identifier) return { kind: "accepted" };
  return { kind: "unknown", message: `HTTP ${event.lastResponse.statusCode} without the meter event` };
}

/** Settles as `call` does, or rejects when `signal` aborts; what becomes of the call then is nobody's concern. */
function within<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new Error("no answer in time", { cause: signal.reason }));
    signal.addEventListener("abort", abort, { once: true });
    call.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
