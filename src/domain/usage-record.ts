// A usage record as the domain knows it: validated, canonical, with its fingerprint. Made by rpc/validate alone.
import { hash } from "node:crypto";

/** A quantity of one meter, in the meter's unit, 0..10^12. */
export interface Measurement {
  readonly meter: string;
  readonly quantity: bigint;
}

/** One immutable fact. Identified by (customerId, idempotencyKey); equal to another iff the fingerprints are equal. */
export interface UsageRecord {
  readonly customerId: string;
  readonly idempotencyKey: string;
  /** Empty when the caller named none. */
  readonly apiKeyId: string;
  /** Milliseconds since the epoch: as sent (finer digits cut), or the time of receipt where the caller sent none. */
  readonly eventTimeMs: number;
  /** Empty when the caller named none. */
  readonly model: string;
  /** At most one per meter, sorted by meter. */
  readonly measurements: readonly Measurement[];
  /** Sorted by key, keys distinct. */
  readonly labels: readonly (readonly [key: string, value: string])[];
  /** See fingerprintOf. */
  readonly fingerprint: string;
  /** Trace context of the call that brought it, where that is traced. No part of what the record is: the ledger does not keep it. */
  readonly traceparent?: string;
}

/** What the caller sent, before the server fills in a time. The event time keeps all its digits. */
export interface SentRecord extends Omit<UsageRecord, "eventTimeMs" | "fingerprint" | "traceparent"> {
  readonly sentEventTime: { readonly seconds: bigint; readonly nanos: number } | undefined;
}

/** Orders by UTF-16 code units, the same on every machine and in every locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Identity of a record's content: 22 characters of base64url, the first 132 bits of SHA-256 over a canonical form of what the
 * caller sent. The order of measurements and labels does not count (both come sorted), nor does a time that the server filled in.
 */
export function fingerprintOf(sent: SentRecord): string {
  const time = sent.sentEventTime;
  // JSON of nested arrays is injective: no two different records share a canonical form.
  const canonical = JSON.stringify([
    sent.customerId,
    sent.idempotencyKey,
    sent.apiKeyId,
    time === undefined ? null : [time.seconds.toString(), time.nanos],
    sent.model,
    sent.measurements.map((m) => [m.meter, m.quantity.toString()]),
    sent.labels,
  ]);
  return hash("sha256", canonical, "base64url").slice(0, 22);
}
