// What a Redis holds for the ledger, read without the code under test's own reader.
import type { Redis } from "ioredis";

export interface StoredRecord {
  readonly customerId: string;
  readonly idempotencyKey: string;
}

/** All records of all shards' streams, in stream order. */
export async function storedRecords(client: Redis, shardCount: number): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (let shard = 0; shard < shardCount; shard += 1) {
    for (const [, fields] of await client.xrange(`metering:{${shard}}:stream`, "-", "+")) {
      for (const line of (fields[fields.indexOf("r") + 1] ?? "").split("\n")) {
        const [customerId, idempotencyKey] = JSON.parse(line) as [string, string];
        records.push({ customerId, idempotencyKey });
      }
    }
  }
  return records;
}
