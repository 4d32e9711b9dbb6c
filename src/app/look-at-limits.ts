// A look at what the intake counted and what was recorded, at one entry that both know.
import {
  type CounterDifference,
  counterDifferences,
  unheardVoids,
  type WindowCounter,
} from "../domain/limit-counters.ts";
import { type KeyRef, LIMIT_CLOCK_SLACK_MS, limitWindowAt } from "../domain/limits.ts";
import type { Clock } from "./ports/clock.ts";
import type { CountedKey, IntakeLimits } from "./ports/limits.ts";
import { type RecordedUpToDependencies, recordedUpTo } from "./recorded-up-to.ts";

export interface LookAtLimitsDependencies extends RecordedUpToDependencies {
  readonly intake: Pick<IntakeLimits, "entriesAfter" | "look" | "raiseVoided">;
  readonly clock: Clock;
}

/** A key whose counters in the intake differ from what was recorded. */
export interface DifferingKey {
  readonly key: KeyRef;
  readonly generation: string;
  readonly differences: readonly CounterDifference[];
}

const TRIES_MAX = 20;
const AGAIN_MS = 50;

/**
 * Those keys of a shard that differ; exact, since both sides are summed up to the same entry. Keys that are not counted in the intake, or not
 * defined, are left out. The intake hears of voids by the way. Undefined: ledger and stream did not meet in some tries. Rejects while a store is away.
 */
export async function lookAtLimits(
  deps: LookAtLimitsDependencies,
  shard: number,
  keys: readonly KeyRef[],
): Promise<readonly DifferingKey[] | undefined> {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    if (tries > 0) await deps.clock.sleep(AGAIN_MS);
    const look = await deps.intake.look(shard, keys);
    const counted = keys.flatMap((key, i) => {
      const known = look.keys[i];
      return known === undefined ? [] : [{ key, ...known }];
    });
    if (counted.length === 0) return [];
    const point = { shard, epoch: look.epoch, entryId: look.lastEntryId };
    const found = await recordedUpTo(
      deps,
      point,
      counted.map(({ key }) => key),
    );
    if (found.kind !== "counted") continue;
    const sinceMs = limitWindowAt("minute", deps.clock.nowMs() - LIMIT_CLOCK_SLACK_MS).startMs;
    const differing: DifferingKey[] = [];
    for (const [i, one] of counted.entries()) {
      const recorded = found.counters[i];
      if (recorded === undefined) continue;
      await hear(deps, shard, one, recorded);
      const differences = counterDifferences(one.counters, recorded, sinceMs);
      if (differences.length > 0) differing.push({ key: one.key, generation: one.generation, differences });
    }
    return differing;
  }
  return undefined;
}

/** The intake hears what the ledger knows to be void of one key. Two round trips, three where there is news. Rejects while a store is away. */
export async function hearVoids(
  deps: Pick<LookAtLimitsDependencies, "intake" | "ledger">,
  shard: number,
  key: KeyRef,
): Promise<void> {
  // In this order: what was void before the key was begun is not part of what the intake calls used.
  const [counted] = (await deps.intake.look(shard, [key])).keys;
  if (counted === undefined) return;
  const [recorded] = (await deps.ledger.snapshot(shard, [key])).counters;
  if (recorded !== undefined) await hear(deps, shard, { key, ...counted }, recorded);
}

async function hear(
  { intake }: Pick<LookAtLimitsDependencies, "intake">,
  shard: number,
  { key, generation, counters }: CountedKey & { readonly key: KeyRef },
  recorded: readonly WindowCounter[],
): Promise<void> {
  const news = unheardVoids(counters, recorded);
  if (news.length > 0) await intake.raiseVoided(shard, key, generation, news);
}
