// Seeding: the intake begins to count keys that it does not count yet, and is brought what they used before.
import type { Clock } from "./ports/clock.ts";
import type { IntakeLimits, KeyToBegin } from "./ports/limits.ts";
import { type RecordedUpToDependencies, recordedUpTo } from "./recorded-up-to.ts";

export interface SeedLimitsDependencies extends RecordedUpToDependencies {
  readonly intake: Pick<IntakeLimits, "begin" | "entriesAfter" | "complete">;
  readonly clock: Clock;
  /** A string that nobody else makes. */
  readonly randomId: () => string;
}

const TRIES_MAX = 20;
const AGAIN_MS = 50;

/**
 * 1. begin the keys, under a generation that nobody else has: from here on every append adds to them. A crash after it: they are counted and
 *    not known; who meets them SEEDING_GIVEN_UP_MS later begins them anew;
 * 2. read what the ledger has of them and what waits up to the last entry before 1. Is the ledger past that entry, it may have what append
 *    counted too: back to 1. A crash: as at 1;
 * 3. complete each with that sum, where it stands as we began it still: in our generation and epoch, after that very entry. A crash, or an answer that is lost: each is complete or
 *    is not, and a repeat finds it complete.
 *
 * False: the ledger did not come near in some tries; what was begun stays as after a crash at 1. Rejects while a store is away.
 */
export async function seedLimits(
  deps: SeedLimitsDependencies,
  shard: number,
  wanted: readonly KeyToBegin[],
  signal?: AbortSignal,
): Promise<boolean> {
  let keys = wanted;
  for (let tries = 0; tries < TRIES_MAX; ) {
    const generation = deps.randomId();
    const { epoch, lastEntryId, begun } = await deps.intake.begin(shard, keys, generation); // 1
    const own = keys.filter((_, i) => begun[i]);
    if (own.length === 0) return true;
    let recorded = await recordedUpTo(deps, { shard, epoch, entryId: lastEntryId }, own); // 2
    for (; recorded.kind === "behind" && tries < TRIES_MAX && !signal?.aborted; tries += 1) {
      await deps.clock.sleep(AGAIN_MS, signal);
      recorded = await recordedUpTo(deps, { shard, epoch, entryId: lastEntryId }, own);
    }
    if (recorded.kind === "counted") {
      for (const [i, key] of own.entries()) {
        const counters = recorded.counters[i];
        // One that is not defined is not counted by the ledger either.
        if (counters !== undefined)
          await deps.intake.complete(shard, key, { epoch, generation, lastEntryId }, counters); // 3
      }
      return true;
    }
    if (signal?.aborted) return false;
    tries += 1;
    keys = own.map((key) => ({ ...key, replacing: generation }));
  }
  return false;
}
