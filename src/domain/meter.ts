// Which meters exist, and how a record becomes quantities of Stripe meters. The shape of metering.config.json, parsed.
import type { UsageRecord } from "./usage-record.ts";

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
}

/** What metering.config.json says. */
export interface MeterCatalog {
  /** By name; REQUESTS_METER is not among them. */
  readonly meters: ReadonlyMap<string, Meter>;
  readonly billing: readonly BillingRule[];
  /** Label keys kept in rollups. */
  readonly rollupLabels: readonly string[];
}

/** A quantity on its way to one Stripe meter. */
export interface BillableQuantity {
  readonly eventName: string;
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
 * The Stripe quantities of one record, sorted by event name, zeros left out. A measurement goes to every rule that names its
 * meter and matches its model, so that one count can feed several Stripe meters.
 */
export function billableQuantities(record: MeasuredRecord, catalog: MeterCatalog): BillableQuantity[] {
  const sums = new Map<string, bigint>();
  for (const rule of catalog.billing) {
    const quantity = quantityOf(record, rule.meter);
    if (quantity === 0n || !matchesModel(rule.modelPattern, record.model)) continue;
    sums.set(rule.eventName, (sums.get(rule.eventName) ?? 0n) + quantity * rule.weight);
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([eventName, quantity]) => ({ eventName, quantity }));
}

function quantityOf(record: MeasuredRecord, meter: string): bigint {
  if (meter === REQUESTS_METER) return 1n;
  return record.measurements.find((m) => m.meter === meter)?.quantity ?? 0n;
}
