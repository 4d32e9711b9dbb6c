// Which shard a customer's records go through.
import { hash } from "node:crypto";

/**
 * Shard of a customer, 0..shardCount-1. Fixed for ever for a given shardCount: a customer's records stay in one stream, in order.
 * 32 bits of SHA-256, so that ids which share a prefix or differ in a counter still spread evenly.
 */
export function shardOf(customerId: string, shardCount: number): number {
  return Number.parseInt(hash("sha256", customerId, "hex").slice(0, 8), 16) % shardCount;
}
