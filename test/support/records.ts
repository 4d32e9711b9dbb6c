// Usage records for tests, as rpc/validate would make them.
import { compareText, fingerprintOf, type UsageRecord } from "../../src/domain/usage-record.ts";

export interface RecordFields {
  customerId?: string;
  idempotencyKey?: string;
  apiKeyId?: string;
  eventTimeMs?: number;
  model?: string;
  measurements?: Readonly<Record<string, bigint>>;
  labels?: Readonly<Record<string, string>>;
}

let counter = 0;

/** A valid record; fields not given are the same each time, but for the key. The event time counts as sent by the caller. */
export function usageRecord(fields: RecordFields = {}): UsageRecord {
  counter += 1;
  const eventTimeMs = fields.eventTimeMs ?? Date.now();
  const sent = {
    customerId: fields.customerId ?? "cus_test",
    idempotencyKey: fields.idempotencyKey ?? `key-${counter}`,
    apiKeyId: fields.apiKeyId ?? "",
    model: fields.model ?? "openai/gpt-5",
    measurements: Object.entries(fields.measurements ?? { input_tokens: 10n, output_tokens: 3n })
      .map(([meter, quantity]) => ({ meter, quantity }))
      .sort((a, b) => compareText(a.meter, b.meter)),
    labels: Object.entries(fields.labels ?? {}).sort(([a], [b]) => compareText(a, b)),
    sentEventTime: { seconds: BigInt(Math.floor(eventTimeMs / 1000)), nanos: (eventTimeMs % 1000) * 1_000_000 },
  };
  const { sentEventTime: _, ...rest } = sent;
  return { ...rest, eventTimeMs, fingerprint: fingerprintOf(sent) };
}
