// The ports of what counts limits of API keys: each call goes over a wire to the models, or straight to them.
import type { IntakeLimits, LimitLedger } from "../../src/app/ports/limits.ts";
import type { WindowCounter } from "../../src/domain/limit-counters.ts";
import { type KeyRef, type LimitWindow, limitWindowAt, limitWindowNumber, placeOf } from "../../src/domain/limits.ts";
import { shardOf } from "../../src/domain/shard.ts";
import { limitKey } from "../../src/redis/keys.ts";
import type { PlacedCounter } from "../../src/redis/limit-scripts.ts";
import type { ModelLedger } from "./model/ledger.ts";
import type { ModelRedis } from "./model/redis.ts";

/** How a call reaches a store. */
export type Call = <T>(effect: () => T) => Promise<T>;

export interface IntakeLimitsOptions {
  readonly redis: ModelRedis;
  readonly shardCount: number;
  readonly nowMs: () => number;
  readonly randomId: () => string;
}

export function intakeLimitsPort(
  call: Call,
  { redis, shardCount, nowMs, randomId }: IntakeLimitsOptions,
): IntakeLimits {
  const hashOf = (shard: number, key: KeyRef) => limitKey(shard, key.customerId, key.apiKeyId);
  return {
    read(keys) {
      const readMs = nowMs();
      return Promise.all(
        keys.map((key) => {
          const shard = shardOf(key.customerId, shardCount);
          return call(() => {
            const [counted] = redis.lookAtLimits(shard, [hashOf(shard, key)]).keys;
            const left = (window: LimitWindow) => leftIn(counted?.counters ?? [], window, readMs);
            return counted && { nowMs: readMs, minute: left("minute"), day: left("day") };
          });
        }),
      );
    },
    async begin(shard, keys, generation) {
      const hashes = keys.map((key) => ({ hash: hashOf(shard, key), replaced: key.replacing ?? "" }));
      const { states, ...begun } = await call(() => redis.beginLimits(shard, randomId(), generation, hashes));
      return { ...begun, begun: [...states].map((state) => state === "1") };
    },
    entriesAfter: (shard, entryId, limit) => call(() => redis.read(shard, entryId, limit)),
    complete: (shard, key, begun, counters) =>
      call(() => redis.completeLimits(shard, hashOf(shard, key), begun, counters.map(toPlaced))),
    look: (shard, keys) =>
      call(() =>
        redis.lookAtLimits(
          shard,
          keys.map((key) => hashOf(shard, key)),
        ),
      ),
    raiseVoided: (shard, key, generation, counters) =>
      call(() => redis.raiseVoidedLimits(hashOf(shard, key), generation, counters.map(toPlaced))),
  };
}

export function limitLedgerPort(
  call: Call,
  ledger: ModelLedger,
  meters: readonly string[],
): Pick<LimitLedger, "snapshot"> {
  return { snapshot: (shard, keys) => call(() => ledger.limitSnapshot(shard, keys, meters)) };
}

function leftIn(counters: readonly WindowCounter[], window: LimitWindow, nowMs: number): bigint {
  const { startMs } = limitWindowAt(window, nowMs);
  const found = counters.find((counter) => counter.window === window && counter.windowStartMs === startMs);
  return found === undefined ? 0n : found.used - found.voided;
}

function toPlaced({ window, windowStartMs, used, voided }: WindowCounter): PlacedCounter {
  return { place: placeOf(window, windowStartMs), number: limitWindowNumber(window, windowStartMs), used, voided };
}
