import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shardsOf } from "../../../src/app/shard-assignment.ts";
import { seeded } from "../../support/seed.ts";

describe("shards of a worker", () => {
  it("are all shards, each once, evenly, whatever the order of the list", () => {
    const workers = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(workers, fc.integer({ min: 1, max: 256 }), (ids, shardCount) => {
        const shares = ids.map((id) => shardsOf(id, [...ids].reverse(), shardCount));
        expect(shares.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: shardCount }, (_, shard) => shard));
        const sizes = shares.map((share) => share.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
      seeded(200),
    );
  });

  it("are none for a worker that is not on the list", () => {
    expect(shardsOf("w1", ["w2"], 16)).toEqual([]);
    expect(shardsOf("w1", [], 16)).toEqual([]);
  });
});
