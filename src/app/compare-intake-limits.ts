// Counters of limits in the intake are held against the ledger again and again; what differs is seeded anew.
import { type KeyRef, keyId } from "../domain/limits.ts";
import { shardOf } from "../domain/shard.ts";
import type { Tenure } from "./hold-lease.ts";
import { type DifferingKey, type LookAtLimitsDependencies, lookAtLimits } from "./look-at-limits.ts";
import type { ApiKeys } from "./ports/api-keys.ts";
import type { IntakeLimits, LedgerDrift } from "./ports/limits.ts";
import type { Logger } from "./ports/logger.ts";
import { type SeedLimitsDependencies, seedLimits } from "./seed-limits.ts";

export interface CompareIntakeLimitsOptions extends LookAtLimitsDependencies, SeedLimitsDependencies {
  readonly intake: IntakeLimits;
  readonly keys: Pick<ApiKeys, "list">;
  readonly shardCount: number;
  readonly logger: Logger;
  /** Told of each counter that differed. */
  readonly onDrift: (drift: LedgerDrift) => void;
}

/** Keys looked at by one call of the store. */
const PAGE_KEYS = 500;

/**
 * One pass over all keys. Counters change in the step that stores a record, so a difference means that the store lost some of its last writes,
 * forgot records that were sent again, or that the ledger refused some; or a replica that does not count yet. A crash anywhere: the next pass
 * begins anew, and what was being seeded is as after a crash of seedLimits.
 */
export async function compareIntakeLimits(
  options: CompareIntakeLimitsOptions,
  tenure: Pick<Tenure, "mayBegin">,
): Promise<void> {
  let after: KeyRef | undefined;
  while (tenure.mayBegin()) {
    const page = await options.keys.list(undefined, after, PAGE_KEYS);
    for (const [shard, keys] of byShard(page, options.shardCount)) await compareShard(options, shard, keys);
    after = page.at(-1);
    if (page.length < PAGE_KEYS) return;
  }
}

/** Where ledger and stream do not meet, the next pass looks again. */
async function compareShard(
  options: CompareIntakeLimitsOptions,
  shard: number,
  keys: readonly KeyRef[],
): Promise<void> {
  const first = await lookAtLimits(options, shard, keys);
  if (first === undefined || first.length === 0) return;
  const second = await lookAtLimits(
    options,
    shard,
    first.map(({ key }) => key),
  );
  const standing = (second ?? []).flatMap((found) => whatStands(found, first));
  if (standing.length === 0) return;
  for (const { key, generation, differences } of standing) {
    for (const difference of differences) options.onDrift({ ...key, ...difference });
    options.logger.error(
      { ...key, generation },
      "what Redis counted for a key's limits differs from the ledger: seeded anew",
    );
  }
  const again = standing.map(({ key, generation }) => ({ ...key, replacing: generation }));
  await seedLimits(options, shard, again);
}

/** Of a key, what differed in both looks. */
function whatStands(found: DifferingKey, first: readonly DifferingKey[]): DifferingKey[] {
  const before = first.find(({ key }) => keyId(key) === keyId(found.key));
  if (before?.generation !== found.generation) return [];
  const differences = found.differences.filter(({ window, windowStartMs }) =>
    before.differences.some((one) => one.window === window && one.windowStartMs === windowStartMs),
  );
  return differences.length === 0 ? [] : [{ ...found, differences }];
}

function byShard(keys: readonly KeyRef[], shardCount: number): ReadonlyMap<number, KeyRef[]> {
  const shards = new Map<number, KeyRef[]>();
  for (const { customerId, apiKeyId } of keys) {
    const shard = shardOf(customerId, shardCount);
    const known = shards.get(shard);
    if (known === undefined) shards.set(shard, [{ customerId, apiKeyId }]);
    else known.push({ customerId, apiKeyId });
  }
  return shards;
}
