// Which meters exist, and how a record becomes quantities of Stripe meters. The shape of metering.config.json, parsed.
import type { LimitPolicy } from "./limits.ts";
import { compareText, type UsageRecord } from "./usage-record.ts";

/** The meter that the service itself adds: 1 a record. Callers cannot send it; it can be read and billed like any other. */
export const REQUESTS_METER = "requests";

/** A meter that callers may measure. */
export interface Meter {
  readonly name: string;
  /** Only meters in tokens add up to `tokens_used`. */
  readonly unit: "token" | "other";
}

/** Sends `weight` x the quantity of `meter`, for models that match `modelPattern`, to the Stripe meter `eventName`. */
export interface BillingRule {
  readonly meter: string;
  /** "*" stands for any run of characters, all else for itself; "*" alone also matches records without a model. */
  readonly modelPattern: string;
  readonly eventName: string;
  /** 1..10^6. */
  readonly weight: bigint;
  /** What else its events carry, by key: a text, or MODEL or STRIPE_MODEL in whole; left out for a record without a model. */
  readonly payload?: ReadonlyMap<string, string> | undefined;
}

/** A payload value that stands for the record's model. */
export const MODEL = "{model}";
/** A payload value that stands for the record's model as Stripe's token billing names it. */
export const STRIPE_MODEL = "{stripe_model}";

/** What metering.config.json says. */
export interface MeterCatalog {
  /** By name; REQUESTS_METER is not among them. */
  readonly meters: ReadonlyMap<string, Meter>;
  readonly billing: readonly BillingRule[];
  /** Label keys kept in rollups. */
  readonly rollupLabels: readonly string[];
  /** No part of what sums follow from. Undefined: see limitPolicyOf. */
  readonly limits?: LimitPolicy | undefined;
}

/** A quantity on its way to one Stripe meter. */
export interface BillableQuantity {
  readonly eventName: string;
  /** What else the event carries: canonical JSON of an object of strings, "{}" for nothing. Quantities of one name and payload add up. */
  readonly payload: string;
  readonly quantity: bigint;
}

/** What of a record decides where its quantities go. */
export type MeasuredRecord = Pick<UsageRecord, "model" | "measurements">;

/** Whether `model` matches `pattern`. Linear in the pattern's parts; no regular expression, so no pattern can be slow. */
export function matchesModel(pattern: string, model: string): boolean {
  const parts = pattern.split("*");
  const first = parts[0] ?? "";
  if (parts.length === 1) return model === first;
  const last = parts[parts.length - 1] ?? "";
  if (!model.startsWith(first)) return false;
  let from = first.length;
  for (const part of parts.slice(1, -1)) {
    const at = model.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return model.length - last.length >= from && model.endsWith(last);
}

/**
 * The Stripe quantities of one record, sorted by event name and payload, zeros left out. A measurement goes to every rule that names its
 * meter and matches its model, so that one count can feed several Stripe meters.
 */
export function billableQuantities(record: MeasuredRecord, catalog: MeterCatalog): BillableQuantity[] {
  const sums: { eventName: string; payload: string; quantity: bigint }[] = [];
  for (const rule of catalog.billing) {
    const measured = quantityOf(record, rule.meter);
    if (measured === 0n || !matchesModel(rule.modelPattern, record.model)) continue;
    const { eventName } = rule;
    const payload = payloadOf(rule, record.model);
    const quantity = measured * rule.weight;
    const sum = sums.find((one) => one.eventName === eventName && one.payload === payload);
    if (sum) sum.quantity += quantity;
    else sums.push({ eventName, payload, quantity });
  }
  return sums.sort((a, b) => compareText(a.eventName, b.eventName) || compareText(a.payload, b.payload));
}

function payloadOf({ payload }: BillingRule, model: string): string {
  if (payload === undefined || payload.size === 0) return "{}";
  const entries = [...payload]
    .map(
      ([key, value]) => [key, value === MODEL ? model : value === STRIPE_MODEL ? stripeModel(model) : value] as const,
    )
    // In a form, as v1 events are sent, an empty value unsets its key: left out, the event says the same wherever it goes.
    .filter(([, value]) => value !== "");
  return JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => compareText(a, b))));
}

/**
 * A model as Stripe's token billing names it, from "provider/model": Anthropic's without date or "-latest" and with dots in its version,
 * OpenAI's without date, all others as they are. Source: the payloads of Stripe's own token meter (npm @stripe/token-meter 0.1.0).
 */
export function stripeModel(model: string): string {
  if (model.startsWith("anthropic/")) {
    return model.replace(/-(\d{8}|latest)$/, "").replace(/(\d)-(\d)/g, "$1.$2");
  }
  if (model.startsWith("openai/") && model !== "openai/gpt-4o-2024-05-13")
    return model.replace(/-\d{4}-\d{2}-\d{2}$/, "");
  return model;
}

function quantityOf(record: MeasuredRecord, meter: string): bigint {
  if (meter === REQUESTS_METER) return 1n;
  return record.measurements.find((m) => m.meter === meter)?.quantity ?? 0n;
}
