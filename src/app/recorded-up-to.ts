// What keys used by the ledger and by what waits in the stream, up to one entry: the point at which intake and ledger can be compared.
import { compareEntryIds } from "../domain/entry-id.ts";
import { addToCounters, type WindowCounter } from "../domain/limit-counters.ts";
import { type KeyRef, keyId, limitDeltas } from "../domain/limits.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import type { IntakeLimits, LimitLedger } from "./ports/limits.ts";

export interface RecordedUpToDependencies {
  readonly ledger: Pick<LimitLedger, "snapshot">;
  readonly intake: Pick<IntakeLimits, "entriesAfter">;
  /** Those that count towards limits. */
  readonly meters: readonly string[];
}

/** An entry of a shard's stream. */
export interface StreamPoint {
  readonly shard: number;
  readonly epoch: string;
  readonly entryId: string;
}

/** Undefined counters: the key is not defined. */
export type RecordedUpTo =
  | { readonly kind: "counted"; readonly counters: readonly (readonly WindowCounter[] | undefined)[] }
  /** The ledger has applied entries after the point. */
  | { readonly kind: "ahead" }
  /** The ledger is too far behind, follows another stream, or moved on meanwhile: ask again. */
  | { readonly kind: "behind" };

/** Entries have up to a thousand records; decoding more of them at once would hold up the process. */
const PAGE_ENTRIES = 10;
/** Most records that are summed; a ledger that is further behind is waited for. Some tenths of a second of one core. */
export const SUMMED_RECORDS_MAX = 50_000;

/** One query, and the entries between the ledger's cursor and the point. Rejects while a store is away. */
export async function recordedUpTo(
  deps: RecordedUpToDependencies,
  { shard, epoch, entryId }: StreamPoint,
  keys: readonly KeyRef[],
): Promise<RecordedUpTo> {
  const snapshot = await deps.ledger.snapshot(shard, keys);
  if (snapshot.epoch !== epoch) return { kind: "behind" };
  if (compareEntryIds(snapshot.cursor, entryId) > 0) return { kind: "ahead" };
  const waiting = new Map(keys.map((key) => [keyId(key), [] as UsageRecord[]]));
  let at = snapshot.cursor;
  let records = 0;
  while (at !== entryId) {
    const entries = await deps.intake.entriesAfter(shard, at, PAGE_ENTRIES);
    if (entries.length === 0 || records > SUMMED_RECORDS_MAX) return { kind: "behind" };
    for (const entry of entries) {
      if (at === entryId) break;
      // Entries are trimmed once the ledger has them: where the chain is broken, it has more than the snapshot tells.
      if (entry.previousEntryId !== at || entry.epoch !== epoch) return { kind: "behind" };
      for (const record of entry.records) waiting.get(keyId(record))?.push(record);
      records += entry.records.length;
      at = entry.entryId;
    }
  }
  const counters = snapshot.counters.map((known, i) => {
    const key = keys[i];
    const records = (key && waiting.get(keyId(key))) ?? [];
    return known && addToCounters(known, limitDeltas(records, deps.meters));
  });
  return { kind: "counted", counters };
}
