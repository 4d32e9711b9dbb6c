// What `metering status` says of the stores themselves: whether they keep what they acknowledge, and how full they are.
import type { Durability } from "../app/ports/intake.ts";
import { probePostgresDurability } from "../postgres/intake.ts";
import type { Pool } from "../postgres/pool.ts";
import { readDatabaseBytes } from "../postgres/vital-signs.ts";
import { closeRedis, openRedis, redisReady } from "../redis/client.ts";
import { probeDurability } from "../redis/durability.ts";
import { type RedisSigns, readRedisSigns } from "../redis/vital-signs.ts";

export interface StoresReport {
  readonly postgres: Durability & { readonly bytes: number };
  /** Null where the settings name none; an error where it did not answer. */
  readonly redis: (Durability & RedisSigns) | { readonly error: string } | null;
}

const REDIS_TIMEOUT_MS = 3_000;

/** Asks both. Rejects when Postgres is away; a Redis that is away is told as such. */
export async function readStores(pool: Pool, redisUrl: string | undefined): Promise<StoresReport> {
  const [durability, bytes, redis] = await Promise.all([
    probePostgresDurability(pool),
    readDatabaseBytes(pool),
    redisUrl === undefined ? null : readRedis(redisUrl),
  ]);
  return { postgres: { ...durability, bytes }, redis };
}

async function readRedis(url: string): Promise<StoresReport["redis"]> {
  const client = openRedis({ url, name: "metering-status", onError: () => {} });
  try {
    await redisReady(client, REDIS_TIMEOUT_MS);
    const [durability, signs] = await Promise.all([probeDurability(client), readRedisSigns(client)]);
    return { ...durability, ...signs };
  } catch (cause) {
    const { message, cause: reason } = cause as Error;
    return { error: reason instanceof Error ? `${message}: ${reason.message}` : message };
  } finally {
    await closeRedis(client);
  }
}

/** A name and a text for each line. */
export function describeStores({ postgres, redis }: StoresReport): [name: string, text: string][] {
  const lines: [string, string][] = [
    ["Postgres", [describeBytes(postgres.bytes), describeDurability(postgres)].join(", ")],
  ];
  if (redis === null) return lines;
  if ("error" in redis) return [...lines, ["Redis", `DOES NOT ANSWER: ${redis.error}`]];
  const { memoryBytes, memoryMaxBytes, appendOnlyFileBytes, persistenceOk } = redis;
  const limit = memoryMaxBytes === undefined ? "no maxmemory" : `of ${describeBytes(memoryMaxBytes)}`;
  const parts = [`${describeBytes(memoryBytes)} in memory, ${limit}`];
  if (appendOnlyFileBytes !== undefined) parts.push(`append-only file ${describeBytes(appendOnlyFileBytes)}`);
  if (!persistenceOk) parts.push("ITS LAST WRITE TO DISK FAILED");
  return [...lines, ["Redis", [...parts, describeDurability(redis)].join(", ")]];
}

function describeDurability({ durable, reason }: Durability): string {
  return durable ? "durable" : `NOT DURABLE: ${reason}`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

function describeBytes(bytes: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power]}`;
}
