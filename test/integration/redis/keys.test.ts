import { once } from "node:events";
import fc from "fast-check";
import { Redis } from "ioredis";
import { describe, expect, it, onTestFinished } from "vitest";
import { headKey, limitKey, parseKey, seenKey, streamKey } from "../../../src/redis/keys.ts";
import { describeWithRedis, startRedis } from "../../support/redis.ts";
import { seeded } from "../../support/seed.ts";

const shards = fc.nat({ max: 1023 });

describe("keys", () => {
  it("parse back to what they were built from", () => {
    fc.assert(
      fc.property(shards, fc.string(), fc.string(), (shard, customerId, idempotencyKey) => {
        expect(parseKey(streamKey(shard))).toEqual({ kind: "stream", shard });
        expect(parseKey(headKey(shard))).toEqual({ kind: "head", shard });
        expect(parseKey(seenKey(shard, customerId, idempotencyKey))).toMatchObject({ kind: "seen", shard });
        expect(parseKey(limitKey(shard, customerId, idempotencyKey))).toMatchObject({ kind: "limit", shard });
      }),
      seeded(500),
    );
  });

  it("parse as nothing when no builder made them", () => {
    for (const key of [
      "",
      "metering:{01}:head",
      "metering:{1}:heads",
      "x:metering:{1}:head",
      "metering:{1}:seen:short",
    ]) {
      expect(parseKey(key), key).toBeUndefined();
    }
  });

  it("are distinct for distinct records, however the parts are cut", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.nat(), fc.nat(), (text, a, b) => {
        const [cutA, cutB] = [a % (text.length + 1), b % (text.length + 1)];
        fc.pre(cutA !== cutB);
        const keyOf = (cut: number) => seenKey(0, text.slice(0, cut), text.slice(cut));
        expect(keyOf(cutA)).not.toBe(keyOf(cutB));
        expect(limitKey(0, text.slice(0, cutA), text.slice(cutA))).not.toBe(keyOf(cutA));
      }),
      seeded(500),
    );
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (c1, k1, c2, k2) => {
        expect(seenKey(0, c1, k1) === seenKey(0, c2, k2)).toBe(c1 === c2 && k1 === k2);
      }),
      seeded(500),
    );
  });
});

describeWithRedis("keys in a cluster", () => {
  it("of one shard share a slot, and shards spread over slots", async () => {
    const server = await startRedis(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
    onTestFinished(() => server.close());
    const client = new Redis(server.url);
    await once(client, "ready");
    onTestFinished(() => client.disconnect());
    const slotOf = (key: string) => client.cluster("KEYSLOT", key);
    const slots = new Set<unknown>();
    for (let shard = 0; shard < 64; shard += 1) {
      const keys = [streamKey(shard), headKey(shard), limitKey(shard, "cus_1", "a"), seenKey(shard, "{cus}{2}", "}b{")];
      const used = new Set(await Promise.all(keys.map(slotOf)));
      expect(used.size, `shard ${shard}`).toBe(1);
      slots.add([...used][0]);
    }
    expect(slots.size).toBe(64);
  });
});
