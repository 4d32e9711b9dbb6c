// The Stripe meters that reports go to.
import Stripe from "stripe";

/** The SDK may repeat a call, a write under one idempotency key: over some 4 s. */
const REPEATED = { maxNetworkRetries: 3 };

/** A Stripe meter as it was found or made. `unfit` and `inactive` ones are left as they are: events would be lost, and a person must decide. */
export interface EnsuredMeter {
  readonly eventName: string;
  /** Empty where it is missing. */
  readonly meterId: string;
  readonly state: "found" | "created" | "missing" | "inactive" | "unfit";
  /** What to do about an inactive or unfit meter; empty else. */
  readonly advice: string;
}

/**
 * Finds or creates a meter for each event name: sum of "value", by "stripe_customer_id", every event counted. In the order of the names.
 * Safe to repeat and to race. Rejects with the SDK's error when Stripe is away or the key may not do this.
 */
export async function ensureMeters(stripe: Stripe, eventNames: readonly string[]): Promise<readonly EnsuredMeter[]> {
  const ensured: EnsuredMeter[] = [];
  for await (const meter of metersFor(stripe, eventNames, true)) ensured.push(meter);
  return ensured;
}

/** As ensureMeters, each as it is settled. Without `create` a meter that is not there is `missing`, and nothing is written. */
export async function* metersFor(
  stripe: Stripe,
  eventNames: readonly string[],
  create: boolean,
): AsyncGenerator<EnsuredMeter> {
  if (eventNames.length === 0) return;
  const known = await metersByEventName(stripe);
  for (const eventName of eventNames) {
    const meter = known.get(eventName);
    if (meter !== undefined) yield examined(meter);
    else if (create) yield await created(stripe, eventName);
    else yield { eventName, meterId: "", state: "missing", advice: "" };
  }
}

/** All meters of the account. An event name belongs to one meter, active or not. */
async function metersByEventName(stripe: Stripe): Promise<ReadonlyMap<string, Stripe.Billing.Meter>> {
  const meters = new Map<string, Stripe.Billing.Meter>();
  for await (const meter of stripe.billing.meters.list({ limit: 100 }, REPEATED)) {
    const other = meters.get(meter.event_name);
    if (other === undefined || other.status !== "active") meters.set(meter.event_name, meter);
  }
  return meters;
}

async function created(stripe: Stripe, eventName: string): Promise<EnsuredMeter> {
  try {
    const meter = await stripe.billing.meters.create(
      { display_name: eventName, event_name: eventName, default_aggregation: { formula: "sum" } },
      REPEATED,
    );
    return { eventName, meterId: meter.id, state: "created", advice: "" };
  } catch (cause) {
    // Somebody else may have created it since we looked.
    if (!(cause instanceof Stripe.errors.StripeInvalidRequestError)) throw cause;
    const meter = (await metersByEventName(stripe)).get(eventName);
    if (meter === undefined) throw cause;
    return examined(meter);
  }
}

function examined(meter: Stripe.Billing.Meter): EnsuredMeter {
  const { event_name: eventName, id: meterId } = meter;
  if (meter.status !== "active") {
    const advice = `meter ${meterId} for "${eventName}" is inactive: reactivate it in Stripe, or bill under another event name`;
    return { eventName, meterId, state: "inactive", advice };
  }
  const misfits = [
    meter.default_aggregation.formula === "sum" || `aggregates by ${meter.default_aggregation.formula}, not sum`,
    meter.event_time_window == null || `counts one event per ${meter.event_time_window} only`,
    meter.customer_mapping.event_payload_key === "stripe_customer_id" ||
      `takes the customer from "${meter.customer_mapping.event_payload_key}"`,
    meter.value_settings.event_payload_key === "value" ||
      `takes the value from "${meter.value_settings.event_payload_key}"`,
  ].filter((misfit) => misfit !== true);
  if (misfits.length === 0) return { eventName, meterId, state: "found", advice: "" };
  const advice = `meter ${meterId} for "${eventName}" ${misfits.join(", ")}; bill under another event name`;
  return { eventName, meterId, state: "unfit", advice };
}
