// Error reports in full: /v2/core/events/:id, since the notification itself carries nothing.
import type Stripe from "stripe";
import type { MeterError, MeterErrorReport, MeterErrorSample } from "../app/ports/meter-errors.ts";
import { MESSAGE_MAX } from "../domain/report.ts";
import type { MeterNames } from "./meter-names.ts";
import { READ, readOrUndefined } from "./read.ts";

type MeterErrorEvent = Extract<
  Stripe.V2.Core.Event,
  { type: "v1.billing.meter.error_report_triggered" | "v1.billing.meter.no_meter_found" }
>;

/** One request, and another per meter that was not met before. Throws where the event is of another type. */
export async function readMeterErrorReport(
  stripe: Stripe,
  meters: MeterNames,
  eventId: string,
  signal: AbortSignal,
): Promise<MeterErrorReport | undefined> {
  const event = await readOrUndefined(stripe.v2.core.events.retrieve(eventId, {}, READ), signal);
  if (event === undefined) return undefined;
  if (!isMeterErrorEvent(event)) throw new Error(`event ${eventId} is ${event.type}, not an error report of a meter`);
  const { reason, validation_start, validation_end } = event.data;
  const meterId = event.type === "v1.billing.meter.error_report_triggered" ? event.related_object.id : "";
  const byCode = Map.groupBy(reason.error_types, ({ code }) => code);
  return {
    eventId,
    eventName: meterId === "" ? undefined : await meters.ofMeter(meterId, signal),
    validation: { startMs: timeOf(validation_start), endMs: timeOf(validation_end) },
    errors: [...byCode].map(([code, types]): MeterError => {
      const count = types.reduce((sum, { error_count }) => sum + error_count, 0);
      return {
        code: storable(code),
        count,
        samples: types.flatMap(({ sample_errors }) => sample_errors.map(toSample)),
      };
    }),
  };
}

function isMeterErrorEvent(event: Stripe.V2.Core.Event): event is MeterErrorEvent {
  return event.type === "v1.billing.meter.error_report_triggered" || event.type === "v1.billing.meter.no_meter_found";
}

/**
 * The sample names its event by `identifier`; older ones by the request's id and idempotency key. A report's identifier is its
 * Idempotency-Key as well, so that both lead to it.
 */
function toSample(sample: { error_message: string; request: { identifier?: string } }): MeterErrorSample {
  const request: { identifier?: string; idempotency_key?: string } = sample.request;
  return {
    identifier: storable(request.identifier ?? request.idempotency_key ?? ""),
    message: storable(sample.error_message).slice(0, MESSAGE_MAX).toWellFormed(),
  };
}

/** Text that Postgres takes: anybody who may send meter events chooses identifiers. */
function storable(text: string): string {
  return text.toWellFormed().replaceAll("\u0000", "\uFFFD");
}

function timeOf(text: string): number {
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs)) throw new Error(`${JSON.stringify(text)} is no time`);
  return timeMs;
}
