// Every key in Redis. But for the owner's, all keys of a shard share the hash tag "{<shard>}", hence one slot of a Redis Cluster: a script may use them together.
import { hash } from "node:crypto";

/** What a key holds. */
export type RedisKey =
  /** Stream of the shard's group commits. */
  | { readonly kind: "stream"; readonly shard: number }
  /** Hash: `epoch` of the stream and `last`, the id of its last entry. */
  | { readonly kind: "head"; readonly shard: number }
  /** Fingerprint of the record last stored under (customer, idempotency key), for the duplicate window. */
  | { readonly kind: "seen"; readonly shard: number; readonly digest: string }
  /** Hash: what an API key used, for its limits; see scripts/limit-ring.lua. */
  | { readonly kind: "limit"; readonly shard: number; readonly digest: string };

/** Holds the id of the deployment that this store belongs to. Used alone, so in no shard's slot. */
export function ownerKey(): string {
  return "metering:deployment";
}

export function streamKey(shard: number): string {
  return `metering:{${shard}}:stream`;
}

export function headKey(shard: number): string {
  return `metering:{${shard}}:head`;
}

/** One key per (customer, idempotency key). A digest, since most of what a remembered record costs in memory is its key. */
export function seenKey(shard: number, customerId: string, idempotencyKey: string): string {
  return `metering:{${shard}}:seen:${digestOf(customerId, idempotencyKey)}`;
}

/** One key per (customer, API key). */
export function limitKey(shard: number, customerId: string, apiKeyId: string): string {
  return `metering:{${shard}}:limit:${digestOf(customerId, apiKeyId)}`;
}

/** Inverse of the shards' builders; undefined for a key that none of them makes. */
export function parseKey(key: string): RedisKey | undefined {
  const parts = /^metering:\{(0|[1-9]\d*)\}:(?:(stream|head)|(seen|limit):([\w-]{22}))$/.exec(key);
  if (!parts) return undefined;
  const shard = Number(parts[1]);
  if (parts[4] !== undefined) return { kind: parts[3] === "limit" ? "limit" : "seen", shard, digest: parts[4] };
  return { kind: parts[2] === "head" ? "head" : "stream", shard };
}

/** 132 bits of SHA-256, over a text that no other pair has: the length in front keeps ("a", "bc") and ("ab", "c") apart. */
function digestOf(customerId: string, id: string): string {
  return hash("sha256", `${customerId.length}:${customerId}${id}`, "base64url").slice(0, 22);
}
