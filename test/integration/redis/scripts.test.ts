import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { closeRedis } from "../../../src/redis/client.ts";
import { headKey, parseKey, seenKey, streamKey } from "../../../src/redis/keys.ts";
import {
  limitBeginScript,
  limitCompleteScript,
  limitLookScript,
  limitVoidScript,
} from "../../../src/redis/limit-scripts.ts";
import {
  type AppendItem,
  type AppendSettings,
  appendScript,
  type CountedItems,
  runAppend,
  runState,
  runTrim,
  stateScript,
  trimScript,
} from "../../../src/redis/scripts.ts";
import { describeWithRedis, type RedisServer, startRedis } from "../../support/redis.ts";
import { testRedis } from "../../support/redis-client.ts";

const NOTHING_COUNTED: CountedItems = { hashes: [], items: [], minuteNumber: 0, dayNumber: 0 };

describe("a script", () => {
  const scripts = Object.entries({
    appendScript,
    stateScript,
    trimScript,
    limitBeginScript,
    limitCompleteScript,
    limitVoidScript,
    limitLookScript,
  });

  it.each(scripts)("%s names as many keys as it is registered with", (_, { source, keyCount }) => {
    const named = [...codeOf(source).matchAll(/KEYS\[(\d+)\]/g)].map((match) => Number(match[1]));
    expect(Math.max(...named)).toBe(keyCount);
  });

  it.each(scripts)("%s explains every key and argument that it uses", (_, { source }) => {
    const comments = source
      .split("\n")
      .filter((line) => line.startsWith("--"))
      .join("\n");
    for (const [used] of codeOf(source).matchAll(/(KEYS|ARGV)\[\d+\]/g)) expect(comments).toContain(used);
    expect(comments).toMatch(/^-- Returns /m);
    expect(comments).toMatch(/^-- Cost: /m);
  });
});

function codeOf(source: string): string {
  return source.replaceAll(/--.*$/gm, "");
}

describeWithRedis("append.lua", () => {
  let server: RedisServer;
  let client: Redis;

  beforeAll(async () => {
    server = await startRedis();
    client = await testRedis(server.url);
  });
  beforeEach(() => client.flushall());
  afterAll(async () => {
    await closeRedis(client);
    await server.close();
  });

  const append = (
    items: readonly AppendItem[],
    settings: Partial<AppendSettings> = {},
    counted: CountedItems = NOTHING_COUNTED,
  ) =>
    runAppend(
      client,
      {
        shard: 0,
        duplicateWindowMs: 60_000,
        epochCandidate: randomUUID(),
        idNoise: 7,
        streamEntriesMax: 100,
        alwaysWrite: false,
        ...settings,
      },
      items,
      counted,
    );
  const item = (key: string, fingerprint = `fp-${key}`): AppendItem => {
    return { seenKey: seenKey(0, "cus", key), fingerprint, line: `line of ${key}` };
  };
  const entries = () => client.xrange(streamKey(0), "-", "+");

  it("makes one entry of what is new, naming its epoch and the entry before", async () => {
    const first = await append([item("a"), item("b")]);
    const second = await append([item("b"), item("c"), item("c"), item("c", "other")]);
    expect([first.outcomes, second.outcomes]).toEqual(["00", "1012"]);
    expect(second.epoch).toBe(first.epoch);
    expect(await entries()).toEqual([
      [first.lastEntryId, ["e", first.epoch, "p", "0-0", "r", "line of a\nline of b"]],
      [second.lastEntryId, ["e", first.epoch, "p", first.lastEntryId, "r", "line of c"]],
    ]);
  });

  it("touches keys of its shard alone, and has those of records forgotten after the duplicate window", async () => {
    await append([item("a")]);
    const keys = await client.keys("*");
    expect(keys.map(parseKey)).toEqual(expect.arrayContaining([expect.objectContaining({ kind: "seen", shard: 0 })]));
    expect(keys.map(parseKey)).not.toContain(undefined);
    expect(await client.pttl(seenKey(0, "cus", "a"))).toBeGreaterThan(59_000);
    expect(await client.pttl(streamKey(0))).toBe(-1);
    expect(await client.pttl(headKey(0))).toBe(-1);
  });

  it("recognises nothing after the duplicate window: that is the ledger's part", async () => {
    await append([item("a")], { duplicateWindowMs: 1 });
    while ((await client.exists(seenKey(0, "cus", "a"))) > 0);
    expect((await append([item("a", "other")])).outcomes).toBe("0");
  });

  it("answers duplicates with the position of the newest entry, which is theirs or after it", async () => {
    await append([item("a")]);
    const { lastEntryId } = await append([item("b")]);
    expect(await append([item("a")])).toMatchObject({ outcomes: "1", lastEntryId });
    expect(await client.xlen(streamKey(0))).toBe(2);
  });

  it("stores nothing when the stream is full, and knows duplicates all the same", async () => {
    await append([item("a")], { streamEntriesMax: 1 });
    const before = await client.keys("*");
    const full = await append([item("a"), item("b"), item("b"), item("a", "other")], { streamEntriesMax: 1 });
    expect(full.outcomes).toBe("1332");
    expect(await client.keys("*")).toHaveLength(before.length);
    expect(await client.xlen(streamKey(0))).toBe(1);
  });

  it("stores nothing when memory is full", async () => {
    await append([item("a")]);
    await client.config("SET", "maxmemory", "1");
    await expect(append([item("b")])).rejects.toThrow(/^OOM/);
    expect((await append([item("a")])).outcomes).toBe("1");
    await client.config("SET", "maxmemory", "0");
    expect(await client.exists(seenKey(0, "cus", "b"))).toBe(0);
    expect((await append([item("b")])).outcomes).toBe("0");
  });

  it("takes the largest batch, and works again after the server forgot the script", async () => {
    const items = Array.from({ length: 5_000 }, (_, i) => item(`k${i}`));
    expect((await append(items)).outcomes).toBe("0".repeat(5_000));
    await client.script("FLUSH");
    expect((await append(items)).outcomes).toBe("1".repeat(5_000));
  });

  it("never goes back in ids, even when the clock does, and draws part of them at random", async () => {
    const { lastEntryId } = await append([item("a")], { idNoise: 123 });
    expect(lastEntryId).toMatch(/^\d+-123$/);
    const future = `${Date.now() + 3_600_000}`;
    await client.xadd(streamKey(0), `${future}-5`, "e", "x", "p", "", "r", "");
    await client.hset(headKey(0), "last", `${future}-5`);
    expect((await append([item("b")], { idNoise: 16_777_215 })).lastEntryId).toBe(`${future}-16777221`);
    expect((await append([item("c")], { idNoise: 0 })).lastEntryId).toBe(`${future}-16777222`);
  });

  describe("begins a new epoch", () => {
    it("when the store came back empty", async () => {
      const { epoch } = await append([item("a")]);
      await client.flushall();
      const again = await append([item("a")]);
      expect(again.outcomes).toBe("0");
      expect(again.epoch).not.toBe(epoch);
    });

    it("when the stream is gone and the rest is not, once", async () => {
      const { epoch } = await append([item("a")]);
      await client.del(streamKey(0));
      const duplicate = await append([item("a")]);
      expect(duplicate.epoch).not.toBe(epoch);
      expect(await append([item("b")])).toMatchObject({ epoch: duplicate.epoch, outcomes: "0" });
    });

    it("when the epoch is gone and the stream is not, after the entries that are left", async () => {
      const left = await append([item("a")]);
      await client.del(headKey(0));
      const { epoch, lastEntryId } = await append([item("b")]);
      expect(epoch).not.toBe(left.epoch);
      expect(await entries()).toEqual([
        [left.lastEntryId, ["e", left.epoch, "p", "0-0", "r", "line of a"]],
        [lastEntryId, ["e", epoch, "p", left.lastEntryId, "r", "line of b"]],
      ]);
    });

    it("but not when the ledger has taken everything", async () => {
      const { epoch, lastEntryId } = await append([item("a")]);
      await runTrim(client, 0, lastEntryId);
      expect(await client.xlen(streamKey(0))).toBe(0);
      expect(await append([item("b")])).toMatchObject({ epoch, outcomes: "0" });
    });
  });

  describe("state.lua", () => {
    it("begins an epoch that the first append keeps", async () => {
      const state = await runState(client, 0, "first");
      expect(state).toMatchObject({ epoch: "first", lastEntryId: "0-0", entryCount: 0 });
      expect(Math.abs(state.nowMs - Date.now())).toBeLessThan(60_000);
      const { epoch, lastEntryId } = await append([item("a")]);
      expect(epoch).toBe("first");
      expect(await runState(client, 0, "second")).toMatchObject({ epoch: "first", lastEntryId, entryCount: 1 });
    });
  });

  describe("trim.lua", () => {
    it("forgets entries up to one, and knows the last all the same", async () => {
      const ids: string[] = [];
      for (const key of ["a", "b", "c"]) ids.push((await append([item(key)])).lastEntryId);
      await runTrim(client, 0, ids[1] ?? "");
      expect((await entries()).map(([id]) => id)).toEqual([ids[2]]);
      await runTrim(client, 0, ids[2] ?? "");
      expect(await runState(client, 0, "x")).toMatchObject({ lastEntryId: ids[2], entryCount: 0 });
    });

    it("forgets nothing when the entry is not there: another history may hold what nobody applied", async () => {
      const { lastEntryId } = await append([item("a")]);
      await runTrim(client, 0, `${Date.now() + 60_000}-0`);
      expect((await entries()).map(([id]) => id)).toEqual([lastEntryId]);
    });
  });
});
