// The Lua scripts and their one typed caller each. What a script does stands in its own header.
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { headKey, streamKey } from "./keys.ts";

/** A script as Redis knows it. */
export interface Script {
  readonly source: string;
  readonly sha1: string;
  /** Keys that it names; append.lua takes one more a record. */
  readonly keyCount: number;
}

function loadScript(keyCount: number, ...files: readonly string[]): Script {
  const source = files.map((file) => readFileSync(new URL(`./scripts/${file}`, import.meta.url), "utf8")).join("\n");
  return { source, sha1: hash("sha1", source), keyCount };
}

export const appendScript = loadScript(2, "ensure-epoch.lua", "append.lua");
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

export interface AppendReply {
  readonly epoch: string;
  readonly lastEntryId: string;
  /** One digit a record; see append.lua. */
  readonly outcomes: string;
}

/** Runs append.lua: one round trip, one fsync. Rejects with Redis' error, or when the answer does not come (outcome unknown). */
export async function runAppend(
  client: Redis,
  settings: AppendSettings,
  items: readonly AppendItem[],
): Promise<AppendReply> {
  const { shard, duplicateWindowMs, epochCandidate, idNoise, streamEntriesMax, alwaysWrite } = settings;
  const args: (string | number)[] = [streamKey(shard), headKey(shard)];
  for (const item of items) args.push(item.seenKey);
  args.push(duplicateWindowMs, epochCandidate, idNoise, streamEntriesMax, alwaysWrite ? 1 : 0);
  for (const item of items) args.push(item.fingerprint, item.line);
  const [epoch, lastEntryId, outcomes] = (await runScript(client, appendScript, items.length, args)) as string[];
  if (epoch === undefined || lastEntryId === undefined || outcomes?.length !== items.length) {
    throw new Error(`append.lua gave an answer of another shape for shard ${shard}`);
  }
  return { epoch, lastEntryId, outcomes };
}

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
async function runScript(
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
