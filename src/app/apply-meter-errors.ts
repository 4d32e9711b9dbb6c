// Thin events about meter events that Stripe took and then threw away.
import type { Effect, Effects } from "./stripe-event-effects.ts";

/**
 * The notification says only that there is something: the event is fetched in full. What it says never changes, so nothing need be
 * fetched again, and no turn be waited for.
 */
const applyMeterErrors: Effect = async ({ objects, meterErrors, logger, onHeld }, event, signal) => {
  const { eventId, type } = event;
  const report = await objects.meterErrorReport(eventId, signal);
  if (report === undefined) throw new Error("Stripe has no such event: what was thrown away is not known");
  const { held, sending, spans } = await meterErrors.apply(report);
  for (const [reason, reports] of held) onHeld(reason, reports);
  const codes = report.errors.map(({ code, count }) => `${count} ${code}`);
  const fields = { eventId, type, eventName: report.eventName, codes, held: Object.fromEntries(held), spans };
  logger.error(
    fields,
    "Stripe threw meter events away; reports that it named are held, what was sent around then is compared",
  );
  // How a send under way ends is known in seconds; the report is then held, or not.
  if (sending > 0) throw new Error(`${sending} of the reports named are being sent at this moment`);
};

export const METER_ERROR_EFFECTS: Effects = [
  ["v1.billing.meter.error_report_triggered", applyMeterErrors],
  ["v1.billing.meter.no_meter_found", applyMeterErrors],
];
