// A meter catalog as text, to be kept beside the records that were summed under it. Pure.
import { hash } from "node:crypto";
import type { BillingRule, Meter, MeterCatalog } from "./meter.ts";
import { compareText } from "./usage-record.ts";

/** A catalog in writing: equal texts sum every record alike, whatever the order in which the configuration named things. */
export interface CatalogText {
  /** JSON, canonical. */
  readonly body: string;
  /** 64 hex digits, of the body. */
  readonly digest: string;
}

interface WrittenRule {
  readonly meter: string;
  readonly modelPattern: string;
  readonly eventName: string;
  readonly weight: string;
  readonly payload: Readonly<Record<string, string>>;
}

interface WrittenCatalog {
  readonly meters: readonly Meter[];
  readonly billing: readonly WrittenRule[];
  readonly rollupLabels: readonly string[];
}

/** Writes a catalog down: everything that sums follow from, and nothing else. */
export function writeCatalog(catalog: MeterCatalog): CatalogText {
  const billing = catalog.billing.map(writeRule).map((rule) => ({ rule, text: JSON.stringify(rule) }));
  const written: WrittenCatalog = {
    meters: [...catalog.meters.values()]
      .map(({ name, unit }) => ({ name, unit }))
      .sort((a, b) => compareText(a.name, b.name)),
    // Rules that are alike count twice, so none is dropped.
    billing: billing.sort((a, b) => compareText(a.text, b.text)).map(({ rule }) => rule),
    rollupLabels: [...new Set(catalog.rollupLabels)].sort(compareText),
  };
  const body = JSON.stringify(written);
  return { body, digest: hash("sha256", body, "hex") };
}

/** Reads what writeCatalog wrote; the order of keys is nothing, so that a database may keep it as it likes. */
export function readCatalog(body: string): MeterCatalog {
  const { meters, billing, rollupLabels } = JSON.parse(body) as WrittenCatalog;
  return { meters: new Map(meters.map((meter) => [meter.name, meter])), billing: billing.map(readRule), rollupLabels };
}

function writeRule({ meter, modelPattern, eventName, weight, payload }: BillingRule): WrittenRule {
  const entries = [...(payload ?? [])].sort(([a], [b]) => compareText(a, b));
  return { meter, modelPattern, eventName, weight: weight.toString(), payload: Object.fromEntries(entries) };
}

function readRule({ weight, payload, ...rule }: WrittenRule): BillingRule {
  return { ...rule, weight: BigInt(weight), payload: new Map(Object.entries(payload)) };
}
