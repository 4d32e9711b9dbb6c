// What of a group commit counts towards limits of API keys.
import { countedQuantity, type KeyRef, limitWindowNumber } from "../domain/limits.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { limitKey } from "./keys.ts";
import type { CountedItem, CountedItems } from "./scripts.ts";

/** A commit's part for append.lua, and whose hashes they are. */
export interface CountedCommit extends CountedItems {
  /** In the order of the hashes. */
  readonly keys: readonly KeyRef[];
  /** Which of the keys is each record's; -1 for none. */
  readonly keyOfRecord: readonly number[];
}

/** Every API key that records name, defined or not: the script knows which are counted. `meters` are those that count. */
export function countCommit(
  shard: number,
  records: readonly UsageRecord[],
  meters: readonly string[],
  nowMs: number,
): CountedCommit {
  const indexes = new Map<string, number>();
  const keys: KeyRef[] = [];
  const hashes: string[] = [];
  const items: CountedItem[] = [];
  const keyOfRecord = records.map((record, item) => {
    const { customerId, apiKeyId, eventTimeMs } = record;
    if (apiKeyId === "") return -1;
    const key = limitKey(shard, customerId, apiKeyId);
    let hash = indexes.get(key);
    if (hash === undefined) {
      hash = hashes.push(key) - 1;
      indexes.set(key, hash);
      keys.push({ customerId, apiKeyId });
    }
    const quantity = countedQuantity(record, meters);
    if (quantity > 0n) items.push({ item, hash, quantity, ...numbersAt(eventTimeMs) });
    return hash;
  });
  return { keys, keyOfRecord, hashes, items, ...numbersAt(nowMs) };
}

function numbersAt(timeMs: number) {
  return { minuteNumber: limitWindowNumber("minute", timeMs), dayNumber: limitWindowNumber("day", timeMs) };
}
