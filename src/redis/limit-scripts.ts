// The one typed caller of the scripts that keep counters of API keys' limits. What each does stands in its own header.
import type { Redis } from "ioredis";
import type { Begun } from "../app/ports/limits.ts";
import { headKey, streamKey } from "./keys.ts";
import { LIMIT_HASH_KEPT_MS, loadScript, runScript } from "./scripts.ts";

export const limitBeginScript = loadScript(2, "ensure-epoch.lua", "limit-begin.lua");
export const limitCompleteScript = loadScript(2, "limit-ring.lua", "limit-complete.lua");
export const limitVoidScript = loadScript(1, "limit-ring.lua", "limit-void.lua");
export const limitLookScript = loadScript(1, "limit-look.lua");

/** A hash that is to be begun. */
export interface HashToBegin {
  readonly hash: string;
  /** Begun anew where it stands in this generation; empty for none. */
  readonly replaced: string;
}

/** A window's counter, by its place in the ring. */
export interface PlacedCounter {
  readonly place: number;
  readonly number: number;
  readonly used: bigint;
  readonly voided: bigint;
}

export interface BeginReply {
  readonly epoch: string;
  readonly lastEntryId: string;
  /** One digit a hash. */
  readonly states: string;
}

/** Runs limit-begin.lua. */
export async function runLimitBegin(
  client: Redis,
  settings: {
    readonly shard: number;
    readonly epochCandidate: string;
    readonly generation: string;
    readonly givenUpMs: number;
  },
  hashes: readonly HashToBegin[],
): Promise<BeginReply> {
  const { shard, epochCandidate, generation, givenUpMs } = settings;
  const keys = [streamKey(shard), headKey(shard), ...hashes.map(({ hash }) => hash)];
  const args = [epochCandidate, generation, givenUpMs, LIMIT_HASH_KEPT_MS, ...hashes.map(({ replaced }) => replaced)];
  const reply = await runScript(client, limitBeginScript, hashes.length, [...keys, ...args]);
  const [epoch = "", lastEntryId = "", states = ""] = reply as string[];
  return { epoch, lastEntryId, states };
}

/** Runs limit-complete.lua. Whether it was completed by this. */
export async function runLimitComplete(
  client: Redis,
  shard: number,
  hash: string,
  begun: Begun,
  counters: readonly PlacedCounter[],
): Promise<boolean> {
  const windows = counters.flatMap(({ place, number, used, voided }) => [place, number, `${used}`, `${voided}`]);
  const args = [headKey(shard), hash, begun.epoch, begun.generation, begun.lastEntryId, LIMIT_HASH_KEPT_MS, ...windows];
  return (await runScript(client, limitCompleteScript, 0, args)) === 1;
}

/** Runs limit-void.lua; of the counters it takes what is void. */
export async function runLimitVoid(
  client: Redis,
  hash: string,
  generation: string,
  counters: readonly PlacedCounter[],
): Promise<void> {
  const windows = counters.flatMap(({ place, number, voided }) => [place, number, `${voided}`]);
  await runScript(client, limitVoidScript, 0, [hash, generation, ...windows]);
}

export interface LookReply {
  readonly epoch: string;
  readonly lastEntryId: string;
  /** Fields of each hash; none where there is no hash. */
  readonly hashes: readonly ReadonlyMap<string, string>[];
}

/** Runs limit-look.lua. */
export async function runLimitLook(client: Redis, shard: number, hashes: readonly string[]): Promise<LookReply> {
  const reply = await runScript(client, limitLookScript, hashes.length, [headKey(shard), ...hashes]);
  const [epoch, lastEntryId, found] = reply as [string, string, string[][]];
  return { epoch, lastEntryId, hashes: found.map(toFields) };
}

function toFields(flat: readonly string[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string);
  return fields;
}
