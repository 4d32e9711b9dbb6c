// A usage record as one line of JSON. The format is read by the next version too: only append to the array.
import type { Measurement, UsageRecord } from "../domain/usage-record.ts";

/** Flat arrays and short: [customer, key, API key, time, model, fingerprint, [meter, "quantity", ...], [label, value, ...], traceparent?]. */
type Line = [string, string, string, number, string, string, string[], string[], string?];

/** One line without a raw newline: JSON escapes control characters. Quantities are decimal text, since JSON's numbers are floats. */
export function encodeRecord(record: UsageRecord): string {
  const measured: string[] = [];
  for (const { meter, quantity } of record.measurements) measured.push(meter, quantity.toString());
  const labels: string[] = [];
  for (const [key, value] of record.labels) labels.push(key, value);
  const { customerId, idempotencyKey, apiKeyId, eventTimeMs, model, fingerprint, traceparent } = record;
  const line: Line = [customerId, idempotencyKey, apiKeyId, eventTimeMs, model, fingerprint, measured, labels];
  if (traceparent !== undefined) line.push(traceparent);
  return JSON.stringify(line);
}

/** Inverse of encodeRecord. Throws SyntaxError or TypeError on a line that encodeRecord did not make. */
export function decodeRecord(line: string): UsageRecord {
  const [customerId, idempotencyKey, apiKeyId, eventTimeMs, model, fingerprint, measured, pairs, traceparent] =
    JSON.parse(line) as Line;
  const measurements: Measurement[] = [];
  for (let i = 0; i + 1 < measured.length; i += 2) {
    measurements.push({ meter: measured[i] as string, quantity: BigInt(measured[i + 1] as string) });
  }
  const labels: (readonly [string, string])[] = [];
  for (let i = 0; i + 1 < pairs.length; i += 2) labels.push([pairs[i] as string, pairs[i + 1] as string]);
  const record = { customerId, idempotencyKey, apiKeyId, eventTimeMs, model, measurements, labels, fingerprint };
  return traceparent === undefined ? record : { ...record, traceparent };
}
