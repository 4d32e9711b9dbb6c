// What a meter event says of customer and value, in v1 and in the stream alike.
import type { Report } from "../domain/report.ts";

/** The payload, under the keys of the default mapping (see meters.ts), beside whatever else the report carries. */
export function eventPayload(report: Report): Record<string, string> {
  return {
    ...(JSON.parse(report.payload) as Record<string, string>),
    stripe_customer_id: report.stripeCustomerId,
    value: report.value.toString(),
  };
}
