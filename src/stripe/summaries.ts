// What Stripe counted, for comparison with the ledger. Stripe adds events up some time after it took them; how long is not documented.
import Stripe from "stripe";
import type { Clock } from "../app/ports/clock.ts";
import { HOURS_PER_READ, type MeterSummaries } from "../app/ports/reconciliation.ts";
import type { Interval } from "../domain/window.ts";
import { abortable, READ } from "./read.ts";

const HOUR_MS = 3_600_000;
/** Reads change nothing, so the SDK may repeat them; for people who wait, over some 10 s. */
const PATIENT_READ = { maxNetworkRetries: 8 };

/** Reads through `stripe`, whose own timeout bounds each call. Keeps the account's meters for an hour. */
export function stripeSummaries(stripe: Stripe, clock: Clock): MeterSummaries {
  const meters = new KnownMeters(stripe, clock);
  const read = async (
    stripeCustomerId: string,
    eventName: string,
    interval: Interval,
    grouping: { value_grouping_window?: "hour" },
    signal: AbortSignal,
  ) => {
    signal.throwIfAborted();
    const meterId = await abortable(meters.idOf(eventName), signal);
    if (meterId === undefined) return undefined;
    const question = { ...questionOf(stripeCustomerId, interval), ...grouping };
    try {
      return (await abortable(stripe.billing.meters.listEventSummaries(meterId, question, READ), signal)).data;
    } catch (cause) {
      if (isMissingCustomer(cause)) return undefined;
      throw cause;
    }
  };
  return {
    async hours({ stripeCustomerId, eventName }, interval, signal) {
      if (interval.endMs - interval.startMs > HOURS_PER_READ * HOUR_MS)
        throw new RangeError("too many hours for one read");
      const found = await read(stripeCustomerId, eventName, interval, { value_grouping_window: "hour" }, signal);
      return found && new Map(found.map((summary) => [summary.start_time * 1000, exact(summary)]));
    },
    async sum({ stripeCustomerId, eventName }, interval, signal) {
      const found = await read(stripeCustomerId, eventName, interval, {}, signal);
      return found?.reduce((sum, summary) => sum + exact(summary), 0n);
    },
  };
}

/** Mistyped, or gone: asking again gives the same, and to take it for sums of zero would have what was counted repaired. */
function isMissingCustomer(cause: unknown): boolean {
  return (
    cause instanceof Stripe.errors.StripeInvalidRequestError &&
    cause.code === "resource_missing" &&
    cause.param === "customer"
  );
}

const METERS_KEPT_MS = 3_600_000;
/** A meter that is missing may be new: but not every question about it is a reason to list all of them again. */
const MISSING_KEPT_MS = 60_000;

/** Ids of the meters whose sums mean something to us, by event name. */
class KnownMeters {
  readonly #stripe: Stripe;
  readonly #clock: Clock;
  #listed: { readonly ids: Promise<ReadonlyMap<string, string>>; readonly atMs: number } | undefined;

  constructor(stripe: Stripe, clock: Clock) {
    this.#stripe = stripe;
    this.#clock = clock;
  }

  async idOf(eventName: string): Promise<string | undefined> {
    const id = (await this.#list(METERS_KEPT_MS)).get(eventName);
    return id ?? (await this.#list(MISSING_KEPT_MS)).get(eventName);
  }

  /** A list of at most this age. */
  #list(ageMs: number): Promise<ReadonlyMap<string, string>> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#listed === undefined || nowMs - this.#listed.atMs >= ageMs) {
      const ids = summingMeters(this.#stripe);
      this.#listed = { ids, atMs: nowMs };
      ids.catch(() => {
        if (this.#listed?.ids === ids) this.#listed = undefined;
      });
    }
    return this.#listed.ids;
  }
}

/** An inactive meter still has its sums. Of what a meter counts, overwrites or takes the last of, no sum could be compared. */
async function summingMeters(stripe: Stripe): Promise<ReadonlyMap<string, string>> {
  const ids = new Map<string, string>();
  for await (const meter of stripe.billing.meters.list({ limit: 100 }, READ)) {
    const sums = meter.default_aggregation.formula === "sum" && meter.event_time_window === null;
    if (sums && (meter.status === "active" || !ids.has(meter.event_name))) ids.set(meter.event_name, meter.id);
  }
  return ids;
}

/** Ids of the active meters among the event names. Rejects with the SDK's error when Stripe stays away. */
export async function activeMeterIds(
  stripe: Stripe,
  eventNames: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const ids = new Map<string, string>();
  for await (const meter of stripe.billing.meters.list({ limit: 100, status: "active" }, PATIENT_READ)) {
    if (eventNames.includes(meter.event_name)) ids.set(meter.event_name, meter.id);
  }
  return ids;
}

/**
 * The sum that Stripe counted for a customer over [startMs, endMs), both on an hour, of any length.
 * Rejects with the SDK's error when Stripe stays away, and with RangeError when a sum came as no exact whole number.
 */
export async function countedByStripe(
  stripe: Stripe,
  meterId: string,
  stripeCustomerId: string,
  interval: Interval,
): Promise<bigint> {
  const question = { ...questionOf(stripeCustomerId, interval), value_grouping_window: "hour" } as const;
  let sum = 0n;
  for await (const summary of stripe.billing.meters.listEventSummaries(meterId, question, PATIENT_READ)) {
    sum += exact(summary);
  }
  return sum;
}

function questionOf(customer: string, { startMs, endMs }: Interval) {
  return { customer, start_time: startMs / 1000, end_time: endMs / 1000, limit: HOURS_PER_READ };
}

/** Stripe's sums come as JSON numbers. */
function exact({ aggregated_value: value }: Stripe.Billing.MeterEventSummary): bigint {
  if (!Number.isSafeInteger(value)) throw new RangeError(`Stripe's sum ${value} is no exact whole number`);
  return BigInt(value);
}
