// Raw records as rows.
import { compareText, type UsageRecord } from "../domain/usage-record.ts";

/** A raw record as recut-records and void-find select it. */
export interface RawRecordRow {
  readonly idempotency_key: string;
  readonly event_time: Date;
  readonly api_key_id: string;
  readonly model: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly meters: readonly string[];
  readonly quantities: readonly string[];
  /** Null: applied before catalogs were kept. */
  readonly catalog_id: number | null;
}

export function toRecord(customerId: string, row: RawRecordRow): UsageRecord {
  return {
    customerId,
    idempotencyKey: row.idempotency_key,
    apiKeyId: row.api_key_id,
    eventTimeMs: row.event_time.getTime(),
    model: row.model,
    measurements: row.meters.map((meter, i) => ({ meter, quantity: BigInt(row.quantities[i] ?? 0) })),
    labels: Object.entries(row.labels).sort(([a], [b]) => compareText(a, b)),
    // Identity was settled when the record was applied; sums do not look at it.
    fingerprint: "",
  };
}
