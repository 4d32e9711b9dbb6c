// Whether this Redis keeps what it acknowledged (P1).
import type { Redis } from "ioredis";
import type { Durability } from "../app/ports/intake.ts";

/** What an acknowledged record needs of the server's configuration, and what is lost without it. */
const REQUIRED = [
  ["appendonly", "yes", "without an append-only file a restart loses acknowledged records"],
  ["appendfsync", "always", "a crash loses what was acknowledged since the last fsync"],
  ["no-appendfsync-on-rewrite", "no", "a crash during a rewrite of the file loses acknowledged records"],
  ["maxmemory-policy", "noeviction", "under memory pressure acknowledged records may be evicted"],
] as const;

/**
 * Asks the server how it is configured. Two round trips at most. Never rejects: where the answer cannot be had the intake is not known
 * to be durable, which the reason says.
 */
export async function probeDurability(client: Redis): Promise<Durability> {
  let settings: Map<string, string>;
  try {
    const reply = (await client.config("GET", ...REQUIRED.map(([name]) => name))) as string[];
    settings = new Map();
    for (let i = 0; i + 1 < reply.length; i += 2) settings.set(reply[i] ?? "", reply[i + 1] ?? "");
  } catch (cause) {
    return await probeByInfo(client, cause);
  }
  const weak = REQUIRED.filter(([name, wanted]) => settings.get(name) !== wanted);
  if (weak.length === 0) return { durable: true, reason: "" };
  const reasons = weak.map(
    ([name, wanted, loss]) => `${name} is ${settings.get(name) ?? "unknown"}, not ${wanted}: ${loss}`,
  );
  return { durable: false, reason: `Redis: ${reasons.join("; ")}` };
}

/** Hosted Redis often refuses CONFIG. INFO tells whether there is an append-only file, though not how often it is fsynced. */
async function probeByInfo(client: Redis, cause: unknown): Promise<Durability> {
  const refusal = cause instanceof Error ? cause.message : String(cause);
  try {
    const info = await client.info("persistence");
    if (/^aof_enabled:0\r?$/m.test(info)) {
      return { durable: false, reason: `Redis: appendonly is no, not yes: ${REQUIRED[0][2]}` };
    }
  } catch {
    // The reason below stands for both: nothing could be asked.
  }
  return { durable: false, reason: `Redis: not known to be durable, its configuration cannot be read (${refusal})` };
}
