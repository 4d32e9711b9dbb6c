// The Lua scripts and their one typed caller each. What a script does stands in its own header.
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { headKey, streamKey } from "./keys.ts";

/** A script as Redis knows it. */
export interface Script {
  readonly source: string;
  readonly sha1: string;
  /** Keys that it names; some take more: append.lua one a record and one an API key, those of limits one an API key. */
  readonly keyCount: number;
}

export function loadScript(keyCount: number, ...files: readonly string[]): Script {
  const source = files.map((file) => readFileSync(new URL(`./scripts/${file}`, import.meta.url), "utf8")).join("\n");
  return { source, sha1: hash("sha1", source), keyCount };
}

export const appendScript = loadScript(2, "ensure-epoch.lua", "limit-ring.lua", "append.lua");
export const stateScript = loadScript(2, "ensure-epoch.lua", "state.lua");
export const trimScript = loadScript(1, "trim.lua");

/** What goes in front of the keys and arguments that append.lua wants per record. */
export interface AppendSettings {
  readonly shard: number;
  readonly duplicateWindowMs: number;
  readonly epochCandidate: string;
  /** 0..2^24-1. */
  readonly idNoise: number;
  readonly streamEntriesMax: number;
  /** Leave a write even when nothing is stored. */
  readonly alwaysWrite: boolean;
}

/** One record for append.lua. */
export interface AppendItem {
  readonly seenKey: string;
  readonly fingerprint: string;
  /** Without a raw newline. */
  readonly line: string;
}

/** A record under an API key, for append.lua. */
export interface CountedItem {
  /** Which of the items it is. */
  readonly item: number;
  /** Which of the hashes is its key's. */
  readonly hash: number;
  readonly minuteNumber: number;
  readonly dayNumber: number;
  /** What of it counts towards limits. */
  readonly quantity: bigint;
}

/** What of a group commit counts towards limits, and whose counters are told with it. */
export interface CountedItems {
  /** Keys of the hashes, distinct. */
  readonly hashes: readonly string[];
  readonly items: readonly CountedItem[];
  /** Windows whose counters are told. */
  readonly minuteNumber: number;
  readonly dayNumber: number;
}

/** What a hash says of the two windows that were asked for; `unknown`: there is none, or it is being seeded. */
export type HashUsage = "unknown" | { readonly minute: bigint; readonly day: bigint };

export interface AppendReply {
  readonly epoch: string;
  readonly lastEntryId: string;
  /** One digit a record; see append.lua. */
  readonly outcomes: string;
  /** One a hash, this commit included. */
  readonly usages: readonly HashUsage[];
}

/** How long the counters of an API key are kept after the last window that began in them, so for two days at least after its last record. */
export const LIMIT_HASH_KEPT_MS = 3 * 86_400_000;

/** Runs append.lua: one round trip, one fsync. Rejects with Redis' error, or when the answer does not come (outcome unknown). */
export async function runAppend(
  client: Redis,
  settings: AppendSettings,
  items: readonly AppendItem[],
  counted: CountedItems,
): Promise<AppendReply> {
  const { shard, duplicateWindowMs, epochCandidate, idNoise, streamEntriesMax, alwaysWrite } = settings;
  const { hashes, minuteNumber, dayNumber } = counted;
  const args: (string | number)[] = [streamKey(shard), headKey(shard)];
  for (const item of items) args.push(item.seenKey);
  args.push(...hashes);
  args.push(duplicateWindowMs, epochCandidate, idNoise, streamEntriesMax, alwaysWrite ? 1 : 0);
  args.push(items.length, minuteNumber, dayNumber, LIMIT_HASH_KEPT_MS);
  for (const item of items) args.push(item.fingerprint, item.line);
  for (const one of counted.items)
    args.push(one.item + 1, one.hash + 1, one.minuteNumber, one.dayNumber, one.quantity.toString());
  const reply = await runScript(client, appendScript, items.length + hashes.length, args);
  const [epoch, lastEntryId, outcomes, told] = reply as [string, string, string, string[]];
  if (epoch === undefined || lastEntryId === undefined || outcomes?.length !== items.length) {
    throw new Error(`append.lua gave an answer of another shape for shard ${shard}`);
  }
  return { epoch, lastEntryId, outcomes, usages: hashes.map((_, i) => toHashUsage(told, i)) };
}

/** The i-th of what append.lua says of hashes. */
function toHashUsage(told: readonly string[], i: number): HashUsage {
  const [state, minuteUsed, minuteVoided, dayUsed, dayVoided] = told.slice(5 * i, 5 * i + 5) as FiveValues;
  if (state !== "k") return "unknown";
  return { minute: BigInt(minuteUsed) - BigInt(minuteVoided), day: BigInt(dayUsed) - BigInt(dayVoided) };
}

type FiveValues = [string, string, string, string, string];

export interface StateReply {
  readonly epoch: string;
  readonly lastEntryId: string;
  readonly entryCount: number;
  readonly nowMs: number;
}

/** Runs state.lua. */
export async function runState(client: Redis, shard: number, epochCandidate: string): Promise<StateReply> {
  const args = [streamKey(shard), headKey(shard), epochCandidate];
  const reply = (await runScript(client, stateScript, 0, args)) as [string, string, number, string, string];
  const [epoch, lastEntryId, entryCount, seconds, micros] = reply;
  return { epoch, lastEntryId, entryCount, nowMs: Number(seconds) * 1000 + Math.floor(Number(micros) / 1000) };
}

/** Runs trim.lua. */
export async function runTrim(client: Redis, shard: number, entryId: string): Promise<void> {
  await runScript(client, trimScript, 0, [streamKey(shard), entryId]);
}

/** By digest; sends the source when the server does not know it, as after a restart. */
export async function runScript(
  client: Redis,
  script: Script,
  furtherKeyCount: number,
  args: readonly (string | number)[],
): Promise<unknown> {
  const keyCount = script.keyCount + furtherKeyCount;
  try {
    return await client.evalsha(script.sha1, keyCount, ...args);
  } catch (cause) {
    // Refused before it ran: nothing has happened yet.
    if (!(cause instanceof Error && cause.message.startsWith("NOSCRIPT"))) throw cause;
    return await client.eval(script.source, keyCount, ...args);
  }
}
