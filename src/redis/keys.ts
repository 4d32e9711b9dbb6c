// Every key in Redis. But for the owner's, all keys of a shard share the hash tag "{<shard>}", hence one slot of a Redis Cluster: a script may use them together.
import { hash } from "node:crypto";

/** What a key holds. */
export type RedisKey =
  /** Stream of the shard's group commits. */
  | { readonly kind: "stream"; readonly shard: number }
  /** Hash: `epoch` of the stream and `last`, the id of its last entry. */
  | { readonly kind: "head"; readonly shard: number }
  /** Fingerprint of the record last stored under (customer, idempotency key), for the duplicate window. */
  | { readonly kind: "seen"; readonly shard: number; readonly digest: string };

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

/**
 * One key per (customer, idempotency key). A digest, since most of what a remembered record costs in memory is its key: 132 bits of
 * SHA-256, over a text that no other pair has. The length in front keeps ("a", "bc") and ("ab", "c") apart.
 */
export function seenKey(shard: number, customerId: string, idempotencyKey: string): string {
  return `metering:{${shard}}:seen:${hash("sha256", `${customerId.length}:${customerId}${idempotencyKey}`, "base64url").slice(0, 22)}`;
}

/** Inverse of the shards' builders; undefined for a key that none of them makes. */
export function parseKey(key: string): RedisKey | undefined {
  const parts = /^metering:\{(0|[1-9]\d*)\}:(?:(stream|head)|seen:([\w-]{22}))$/.exec(key);
  if (!parts) return undefined;
  const shard = Number(parts[1]);
  if (parts[3] !== undefined) return { kind: "seen", shard, digest: parts[3] };
  return { kind: parts[2] === "head" ? "head" : "stream", shard };
}
