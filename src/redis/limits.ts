// Counters of API keys' limits beside the streams of their shards: read, seeded and looked at. append.lua counts.
import type { Redis } from "ioredis";
import {
  type BegunKeys,
  type CountedKey,
  type IntakeLimits,
  type IntakeLook,
  type KeyToBegin,
  SEEDING_GIVEN_UP_MS,
} from "../app/ports/limits.ts";
import type { StreamEntry } from "../app/ports/shard-stream.ts";
import type { WindowCounter } from "../domain/limit-counters.ts";
import {
  DAY_PLACES,
  type KeyRef,
  type KeyUsage,
  type LimitWindow,
  limitWindowAt,
  limitWindowMs,
  limitWindowNumber,
  MINUTE_PLACES,
  placeOf,
} from "../domain/limits.ts";
import { shardOf } from "../domain/shard.ts";
import { limitKey, streamKey } from "./keys.ts";
import { type PlacedCounter, runLimitBegin, runLimitComplete, runLimitLook, runLimitVoid } from "./limit-scripts.ts";
import { parseEntry, type RawEntry } from "./stream.ts";

export interface RedisLimitsOptions {
  readonly client: Redis;
  readonly shardCount: number;
  readonly nowMs: () => number;
  /** A string that nobody else makes; names a stream that is new. */
  readonly randomId: () => string;
}

export function redisLimits({ client, shardCount, nowMs, randomId }: RedisLimitsOptions): IntakeLimits {
  const hashOf = (shard: number, key: KeyRef) => limitKey(shard, key.customerId, key.apiKeyId);
  return {
    read(keys) {
      const readMs = nowMs();
      return Promise.all(
        keys.map((key) => readUsage(client, hashOf(shardOf(key.customerId, shardCount), key), readMs)),
      );
    },
    async begin(shard, keys, generation): Promise<BegunKeys> {
      const hashes = keys.map((key: KeyToBegin) => ({ hash: hashOf(shard, key), replaced: key.replacing ?? "" }));
      const settings = { shard, epochCandidate: randomId(), generation, givenUpMs: SEEDING_GIVEN_UP_MS };
      const { epoch, lastEntryId, states } = await runLimitBegin(client, settings, hashes);
      return { epoch, lastEntryId, begun: [...states].map((state) => state === "1") };
    },
    async entriesAfter(shard, entryId, limit): Promise<readonly StreamEntry[]> {
      const found = await client.xrange(streamKey(shard), `(${entryId}`, "+", "COUNT", limit);
      return (found as RawEntry[]).map(parseEntry);
    },
    complete: (shard, key, begun, counters) =>
      runLimitComplete(client, shard, hashOf(shard, key), begun, counters.map(toPlaced)),
    async look(shard, keys): Promise<IntakeLook> {
      const hashes = keys.map((key) => hashOf(shard, key));
      const { epoch, lastEntryId, hashes: found } = await runLimitLook(client, shard, hashes);
      return { epoch, lastEntryId, keys: found.map(toCountedKey) };
    },
    raiseVoided: (shard, key, generation, counters) =>
      runLimitVoid(client, hashOf(shard, key), generation, counters.map(toPlaced)),
  };
}

/** One command, of a few fields. */
async function readUsage(client: Redis, hash: string, nowMs: number): Promise<KeyUsage | undefined> {
  const [minute, day] = [placeAt("minute", nowMs), placeAt("day", nowMs)];
  const fields = [minute, day].flatMap((place) => [`w${place}`, `u${place}`, `v${place}`]);
  const [generation, seeding, ...values] = await client.hmget(hash, "g", "s", ...fields);
  if (typeof generation !== "string" || typeof seeding === "string") return undefined;
  const left = (window: LimitWindow, [number, used, voided]: readonly (string | null)[]) =>
    number === String(limitWindowNumber(window, nowMs)) ? BigInt(used ?? 0) - BigInt(voided ?? 0) : 0n;
  return { nowMs, minute: left("minute", values.slice(0, 3)), day: left("day", values.slice(3)) };
}

function placeAt(window: LimitWindow, timeMs: number): number {
  return placeOf(window, limitWindowAt(window, timeMs).startMs);
}

function toPlaced({ window, windowStartMs, used, voided }: WindowCounter): PlacedCounter {
  const number = limitWindowNumber(window, windowStartMs);
  return { place: placeOf(window, windowStartMs), number, used, voided };
}

function toCountedKey(fields: ReadonlyMap<string, string>): CountedKey | undefined {
  const generation = fields.get("g");
  if (generation === undefined || fields.has("s")) return undefined;
  const counters: WindowCounter[] = [];
  for (let place = 0; place < MINUTE_PLACES + DAY_PLACES; place += 1) {
    const number = fields.get(`w${place}`);
    if (number === undefined) continue;
    const window = place < MINUTE_PLACES ? "minute" : "day";
    const used = BigInt(fields.get(`u${place}`) ?? 0);
    const voided = BigInt(fields.get(`v${place}`) ?? 0);
    counters.push({ window, windowStartMs: Number(number) * limitWindowMs(window), used, voided });
  }
  return { generation, counters };
}
