// What Stripe counted, for comparison with the ledger.
import type Stripe from "stripe";

/** Reads change nothing, so the SDK may repeat them: over some 10 s. */
const READ = { maxNetworkRetries: 8 };

/** Ids of the active meters among the event names. Rejects with the SDK's error when Stripe stays away. */
export async function activeMeterIds(
  stripe: Stripe,
  eventNames: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const ids = new Map<string, string>();
  for await (const meter of stripe.billing.meters.list({ limit: 100, status: "active" }, READ)) {
    if (eventNames.includes(meter.event_name)) ids.set(meter.event_name, meter.id);
  }
  return ids;
}

/**
 * The sum that Stripe counted for a customer over [startMs, endMs), both on an hour. Stripe adds events up some time after it took them.
 * Rejects with the SDK's error when Stripe stays away, and with RangeError when a sum came as no exact whole number.
 */
export async function countedByStripe(
  stripe: Stripe,
  meterId: string,
  stripeCustomerId: string,
  interval: { readonly startMs: number; readonly endMs: number },
): Promise<bigint> {
  const question = {
    customer: stripeCustomerId,
    start_time: interval.startMs / 1000,
    end_time: interval.endMs / 1000,
    value_grouping_window: "hour",
    limit: 100,
  } as const;
  let sum = 0n;
  for await (const { aggregated_value: value } of stripe.billing.meters.listEventSummaries(meterId, question, READ)) {
    if (!Number.isSafeInteger(value)) throw new RangeError(`Stripe's sum ${value} is no exact whole number`);
    sum += BigInt(value);
  }
  return sum;
}
