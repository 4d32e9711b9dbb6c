import { describe, expect, it, onTestFinished } from "vitest";
import { Drain } from "../../../src/app/drain.ts";
import type { Logger } from "../../../src/app/ports/logger.ts";
import type { ShardStream } from "../../../src/app/ports/shard-stream.ts";
import { ShardDrain } from "../../../src/app/shard-drain.ts";
import { compareEntryIds } from "../../../src/domain/entry-id.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import {
  MemoryLedger,
  MemoryRegistry,
  MemoryStream,
  type Misfortune,
  VirtualClock,
} from "../../support/memory-drain.ts";
import { usageRecord } from "../../support/records.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";

interface Bench {
  readonly clock: VirtualClock;
  readonly stream: MemoryStream;
  readonly ledger: MemoryLedger;
  readonly registry: MemoryRegistry;
  readonly log: string[];
}

function bench(misfortune: Misfortune = () => {}): Bench {
  const clock = new VirtualClock();
  const stream = new MemoryStream(clock, misfortune);
  return { clock, stream, ledger: new MemoryLedger(1, misfortune), registry: new MemoryRegistry(), log: [] };
}

/** Starts a drain; it ends with the test, or by the function returned. */
function start(on: Bench, options: { workerId?: string; shardCount?: number; stream?: ShardStream } = {}) {
  const abort = new AbortController();
  const note = (_: object, message: string) => on.log.push(message);
  const logger: Logger = { debug: note, info: note, warn: note, error: note };
  const running = new Drain({
    workerId: "w1",
    shardCount: 1,
    ...on,
    observer: { applied() {}, position() {}, gap() {} },
    logger,
    random: () => 0.5,
    ...options,
  }).run(abort.signal);
  const stop = () => {
    abort.abort();
    return running;
  };
  onTestFinished(stop);
  return { stop };
}

/** Lets the drain work until the condition holds. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000; turn += 1) {
    if (holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error("did not come about");
}

const isDrained = ({ stream, ledger }: Bench) =>
  ledger.shard(0).epoch === stream.epoch && ledger.shard(0).cursor === stream.lastEntryId;

function keysOf(records: readonly UsageRecord[]): string[] {
  return records.map((record) => record.idempotencyKey);
}

describe("the drain", () => {
  it("brings records into the ledger in order, and lets the stream forget them", async () => {
    const on = bench();
    const records = Array.from({ length: 40 }, () => usageRecord());
    for (const record of records) on.stream.append(record);
    start(on);
    await until(() => isDrained(on) && on.stream.entries.length === 0);
    expect(on.ledger.counted).toEqual(keysOf(records));
    expect(on.ledger.gaps).toEqual([]);
  });

  it("keeps the watermark at the last entry while busy, and at the store's clock when drained", async () => {
    const on = bench();
    const entryId = on.stream.append(usageRecord());
    const appendedMs = Number.parseInt(entryId, 10);
    start(on);
    await until(() => isDrained(on));
    expect(on.ledger.shard(0).watermarkMs).toBe(appendedMs);
    await until(() => (on.ledger.shard(0).watermarkMs ?? 0) >= appendedMs + 5_000);
    expect(on.ledger.shard(0).watermarkMs).toBeLessThanOrEqual(on.clock.nowMs());
  });

  it("begins small rounds 50 ms apart: what a round takes is no wait besides", async () => {
    const [takesMs, asked] = [30, [] as number[]];
    const clock = new VirtualClock();
    const sleep = clock.sleep.bind(clock);
    const on = { ...bench((operation) => (operation === "apply" ? sleep(takesMs / 2) : undefined)), clock };
    clock.sleep = (delayMs, signal) => {
      asked.push(delayMs);
      return sleep(delayMs, signal);
    };
    on.stream.append(usageRecord());
    const abort = new AbortController();
    onTestFinished(() => abort.abort());
    const observer = { applied() {}, position() {}, gap() {} };
    // Alone, since on virtual time the sleeps of a drain's other loops would pass for this one's.
    void new ShardDrain({ shard: 0, ...on, observer, random: () => 0, onDrained() {}, onRound() {} }).run(abort.signal);
    // The first round only takes up the stream's epoch.
    await until(() => isDrained(on) && asked.length > 1);
    expect(asked.slice(0, 2)).toEqual([50, 50 - takesMs]);
  });

  it("reports a gap and follows the new stream when the store comes back empty", async () => {
    const on = bench();
    on.stream.append(usageRecord());
    start(on);
    await until(() => isDrained(on));
    on.stream.wipe();
    const after = usageRecord();
    on.stream.append(after);
    await until(() => isDrained(on));
    expect(on.ledger.gaps).toHaveLength(1);
    expect(on.ledger.counted.at(-1)).toBe(after.idempotencyKey);
    expect(on.log).toContain("acknowledged records may be lost; the ledger lists the gap");
  });

  it("reports it even when nothing is recorded afterwards", async () => {
    const on = bench();
    on.stream.append(usageRecord());
    start(on);
    await until(() => isDrained(on));
    on.stream.wipe();
    await until(() => on.ledger.gaps.length > 0 && isDrained(on));
    expect(on.ledger.gaps).toHaveLength(1);
  });

  it("takes what is left of a stream whose epoch was lost", async () => {
    const on = bench();
    const records = Array.from({ length: 3 }, () => usageRecord());
    on.stream.append(records[0] ?? usageRecord());
    const first = start(on);
    await until(() => isDrained(on));
    await first.stop();
    on.stream.append(records[1] ?? usageRecord());
    on.stream.loseEpoch();
    on.stream.append(records[2] ?? usageRecord());
    start(on);
    await until(() => isDrained(on));
    expect(on.ledger.counted).toEqual(keysOf(records));
    expect(on.ledger.gaps).toHaveLength(1);
  });

  it("reports a lost tail once, and misses nothing that came in its place before the cursor", async () => {
    const on = bench();
    for (let i = 0; i < 10; i += 1) on.stream.append(usageRecord());
    start(on);
    await until(() => isDrained(on));
    on.stream.loseTail(5, 60_000);
    const after = Array.from({ length: 8 }, () => usageRecord());
    for (const record of after) on.stream.append(record);
    await until(() => isDrained(on));
    await until(() => on.ledger.gaps.length > 0);
    expect(on.ledger.counted.slice(-8)).toEqual(keysOf(after));
    expect(on.ledger.gaps).toHaveLength(1);
  });

  it("misses nothing that came before the cursor when later entries hide it", async () => {
    const on = bench();
    for (let i = 0; i < 10; i += 1) on.stream.append(usageRecord());
    const first = start(on);
    await until(() => isDrained(on));
    await first.stop();
    const cursor = on.ledger.shard(0).cursor;
    on.stream.loseTail(5, 600_000);
    const after = Array.from({ length: 3 }, () => usageRecord());
    const before = after.slice(0, 2).map((record) => on.stream.append(record));
    expect(before.every((entryId) => compareEntryIds(entryId, cursor) < 0)).toBe(true);
    await on.clock.sleep(1_200_000);
    expect(compareEntryIds(on.stream.append(...after.slice(2)), cursor)).toBeGreaterThan(0);
    start(on);
    await until(() => isDrained(on));
    expect(on.ledger.counted.slice(-3)).toEqual(keysOf(after));
    expect(on.ledger.gaps).toHaveLength(1);
  });

  it("reports it when the stream lost everything, and begins anew after the cursor", async () => {
    const on = bench();
    on.stream.append(usageRecord());
    const first = start(on);
    await until(() => isDrained(on));
    await first.stop();
    const { cursor } = on.ledger.shard(0);
    on.stream.append(usageRecord());
    on.stream.loseTail(2);
    await on.clock.sleep(60_000);
    const after = usageRecord();
    expect(compareEntryIds(on.stream.append(after), cursor)).toBeGreaterThan(0);
    expect(on.stream.entries[0]?.previousEntryId).toBe("0-0");
    start(on);
    await until(() => isDrained(on));
    expect(on.ledger.counted.at(-1)).toBe(after.idempotencyKey);
    expect(on.ledger.gaps).toHaveLength(1);
  });

  it("trims nothing of a stream that lost its tail between apply and trim", async () => {
    const late = usageRecord();
    let armed = true;
    const on: Bench = bench((operation) => {
      if (operation !== "trim" || !armed) return;
      armed = false;
      on.stream.loseTail(3, 10_000);
      on.stream.append(late);
    });
    for (let i = 0; i < 5; i += 1) on.stream.append(usageRecord());
    start(on);
    await until(() => !armed && isDrained(on));
    expect(on.ledger.counted).toContain(late.idempotencyKey);
  });

  it("reports entries that were deleted from the middle, and takes the rest", async () => {
    const on = bench();
    const records = Array.from({ length: 4 }, () => usageRecord());
    const ids = records.map((record) => on.stream.append(record));
    on.stream.delete(ids[2] ?? "");
    start(on);
    await until(() => isDrained(on));
    const [first, second, , last] = keysOf(records);
    expect(on.ledger.counted).toEqual([first, second, last]);
    expect(on.ledger.gaps).toEqual([{ epoch: on.stream.epoch, toEpoch: on.stream.epoch, cursor: ids[1] }]);
  });

  it("reports entries that were deleted from the end", async () => {
    const on = bench();
    const first = on.stream.append(usageRecord());
    start(on);
    await until(() => isDrained(on));
    on.stream.delete(on.stream.append(usageRecord()));
    await until(() => on.ledger.gaps.length > 0 && isDrained(on));
    expect(on.ledger.gaps).toEqual([{ epoch: on.stream.epoch, toEpoch: on.stream.epoch, cursor: first }]);
  });

  it("goes on after an outage, and logs it as one", async () => {
    let away = false;
    const on = bench(() => {
      if (away) throw new Error("away");
    });
    start(on);
    await until(() => on.ledger.shard(0).epoch !== "");
    away = true;
    const record = usageRecord();
    on.stream.append(record);
    const from = on.clock.nowMs();
    await until(() => on.clock.nowMs() - from > 60_000);
    expect(on.ledger.counted).toEqual([]);
    away = false;
    await until(() => isDrained(on));
    expect(on.ledger.counted).toEqual([record.idempotencyKey]);
    expect(on.log.filter((line) => line === "the drain waits for a store")).toHaveLength(1);
    await until(() => on.log.includes("the drain goes on"));
  });

  it("shares shards among workers, and takes over those of one that leaves", async () => {
    const on = bench();
    const ledger = new MemoryLedger(6);
    const readers = [new Set<number>(), new Set<number>()];
    const workers = readers.map((shards, i) => {
      const stream: ShardStream = {
        read: async (shard, _, signal) => {
          shards.add(shard);
          await on.clock.sleep(1_000, signal);
          return [];
        },
        state: () => on.stream.state(),
        trim: async () => {},
      };
      return start({ ...on, ledger }, { workerId: `w${i}`, shardCount: 6, stream });
    });
    // A worker that came first may have read all shards before it knew of the other.
    const since = async () => {
      for (const shards of readers) shards.clear();
      const from = on.clock.nowMs();
      await until(() => on.clock.nowMs() - from > 100_000);
      return readers.map((shards) => [...shards].sort());
    };
    await since();
    expect(await since()).toEqual([
      [0, 2, 4],
      [1, 3, 5],
    ]);
    await workers[0]?.stop();
    await since();
    expect(await since()).toEqual([[], [0, 1, 2, 3, 4, 5]]);
  });
});

describe("the drain, whatever goes wrong", () => {
  it("counts once every record that the stream kept, and says so where it kept less", async () => {
    const seed = pickSeed();
    for (let run = 0; run < 100; run += 1) await misadventure(seed + run);
  });
});

/** Two drains on one shard, stores that fail before or after an operation took effect, and a stream that loses what it had. */
async function misadventure(seed: number): Promise<void> {
  const random = randomFrom(seed);
  let faults = true;
  const on = bench(async (_, when) => {
    for (let turns = Math.floor(random() * 3); turns > 0; turns -= 1) await new Promise((r) => setImmediate(r));
    if (faults && random() < 0.05) throw new Error(`fails ${when}`);
  });
  // Both of them own the shard: each sees a list of workers with itself alone.
  const drains = ["w1", "w2"].map((workerId) => start({ ...on, registry: new MemoryRegistry() }, { workerId }));
  const kept = new Map<string, string>();
  let wipes = 0;
  for (let step = 0; step < 150; step += 1) {
    const draw = random();
    if (draw < 0.01) {
      on.stream.wipe();
      // What was lost before the ledger knew of any stream, nobody can tell.
      if (on.ledger.shard(0).epoch !== "") wipes += 1;
      kept.clear();
    } else if (draw < 0.03) {
      on.stream.loseTail(1 + Math.floor(random() * 6), Math.floor(random() * 5_000));
      for (const entryId of [...kept.keys()]) if (!on.stream.has(entryId)) kept.delete(entryId);
    } else if (draw < 0.04) {
      on.stream.loseEpoch();
    } else if (draw < 0.5) {
      const record = usageRecord({ idempotencyKey: `r${step}` });
      kept.set(on.stream.append(record), record.idempotencyKey);
    } else {
      for (let turns = random() * 20; turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
    }
  }
  faults = false;
  await until(() => isDrained(on));
  await Promise.all(drains.map((drain) => drain.stop()));
  const counted = on.ledger.counted;
  expect(counted.length, `SEED=${seed}: counted twice`).toBe(new Set(counted).size);
  const missing = [...kept.values()].filter((key) => !counted.includes(key));
  expect(missing, `SEED=${seed}: kept, and not counted`).toEqual([]);
  if (wipes > 0) expect(on.ledger.gaps.length, `SEED=${seed}`).toBeGreaterThan(0);
}
