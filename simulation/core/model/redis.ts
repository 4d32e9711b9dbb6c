// Redis, as far as the service uses it: the scripts and the reading of streams, over plain lists. Says the same as the Lua beside
// src/redis, in as simple words as possible. Can come back empty, or as a replica that lacks the last writes.

import { type Begun, type IntakeLook, SEEDING_GIVEN_UP_MS } from "../../../src/app/ports/limits.ts";
import type { StreamEntry, StreamState } from "../../../src/app/ports/shard-stream.ts";
import { compareEntryIds, entryTimeMs, FIRST_ENTRY_ID } from "../../../src/domain/entry-id.ts";
import type { BeginReply, HashToBegin, PlacedCounter } from "../../../src/redis/limit-scripts.ts";
import { decodeRecord } from "../../../src/redis/record-line.ts";
import { type CountedAppend, LimitHashes } from "./limit-hashes.ts";

interface Shard {
  epoch: string;
  last: string;
  entries: StoredEntry[];
  /** Fingerprints by key, with the time until which they are remembered. */
  seen: Map<string, { fingerprint: string; untilMs: number }>;
}

/** An entry, and what the store's clock showed when it was appended. */
export interface StoredEntry extends StreamEntry {
  readonly appendedMs: number;
  /** A clock that was ahead has been shown to somebody before, or stands in an entry: this one was set back, or is another machine's. */
  readonly isSetBack: boolean;
}

/** One append, as a caller of the script asks for it. */
export interface Append {
  readonly shard: number;
  readonly seenKeys: readonly string[];
  readonly fingerprints: readonly string[];
  readonly lines: readonly string[];
  readonly duplicateWindowMs: number;
  readonly epochCandidate: string;
  readonly idNoise: number;
  readonly entriesMax: number;
  readonly counted: CountedAppend;
}

/** Told what becomes durable and what is lost. */
export interface RedisWatcher {
  appended(shard: number, entry: StoredEntry): void;
  /** Oldest first. */
  lost(shard: number, entries: readonly StoredEntry[], why: "wiped" | "failed over"): void;
}

/** Writes that a replica may lack at most. */
const UNDONE_MAX = 40;
/** How far a replica is behind, where writes wait for it. */
export const REPLICA_LAG_MS = 30;

export class ModelRedis {
  readonly #nowMs: () => number;
  readonly #watcher: RedisWatcher;
  #shards = new Map<number, Shard>();
  readonly #limits = new LimitHashes();
  /** What takes back the last writes, oldest first. */
  #undo: { readonly atMs: number; run: () => void }[] = [];
  /** Entries that a failover is taking back. */
  readonly #losing = new Map<number, StoredEntry[]>();
  #setBackMs = 0;
  /** The latest time that a look at a stream was told. */
  #shownMs = 0;
  /** Whether it ever lost anything, or somebody touched it. */
  wasTroubled = false;

  /** `nowMs`: the machine's clock. */
  constructor(nowMs: () => number, watcher: RedisWatcher) {
    this.#nowMs = nowMs;
    this.#watcher = watcher;
  }

  get nowMs(): number {
    return this.#nowMs() - this.#setBackMs;
  }

  append(asked: Append): { epoch: string; last: string; outcomes: string; usages: readonly string[] } {
    const { shard: number, seenKeys, fingerprints, lines, duplicateWindowMs, entriesMax, idNoise } = asked;
    const shard = this.#ensure(number, asked.epochCandidate);
    const inBatch = new Map<string, string>();
    const wasSeen = seenKeys.map((key) => this.#seen(shard, key));
    const fresh: number[] = [];
    let outcomes = seenKeys.map((key, i): string => {
      const known = wasSeen[i] ?? inBatch.get(key);
      if (known !== undefined) return known === fingerprints[i] ? "1" : "2";
      inBatch.set(key, fingerprints[i] ?? "");
      fresh.push(i);
      return "0";
    });
    if (fresh.length > 0 && shard.entries.length >= entriesMax) {
      outcomes = outcomes.map((outcome, i) => (wasSeen[i] === undefined ? "3" : outcome));
    } else if (fresh.length > 0) {
      const entry = {
        entryId: nextId(shard.last, this.nowMs, idNoise),
        previousEntryId: shard.last,
        epoch: shard.epoch,
        records: fresh.map((i) => decodeRecord(lines[i] ?? "")),
        appendedMs: this.nowMs,
        isSetBack: this.nowMs < Math.max(this.#shownMs, entryTimeMs(shard.last)),
      };
      const { hashes, items } = asked.counted;
      const setBack = hashes.map((hash) => this.#limits.memory(hash));
      this.#add(number, shard, entry, setBack);
      for (const i of fresh) {
        const item = items.get(i);
        if (item !== undefined) this.#limits.count(item.hash, item.minute, item.day, item.quantity);
      }
      const untilMs = this.nowMs + duplicateWindowMs;
      for (const i of fresh) this.#remember(shard, seenKeys[i] ?? "", fingerprints[i] ?? "", untilMs);
    }
    const { hashes, minute, day } = asked.counted;
    const usages = hashes.flatMap((hash) => this.#limits.usage(hash, minute, day));
    return { epoch: shard.epoch, last: shard.last, outcomes: outcomes.join(""), usages };
  }

  state(number: number, epochCandidate: string): StreamState {
    const { epoch, last, entries } = this.#ensure(number, epochCandidate);
    this.#shownMs = Math.max(this.#shownMs, this.nowMs);
    return { epoch, lastEntryId: last, entryCount: entries.length, nowMs: this.nowMs };
  }

  /** Where a shard's stream stands, without a look at it. */
  standing(number: number): { readonly epoch: string; readonly last: string } | undefined {
    return this.#shards.get(number);
  }

  trim(number: number, entryId: string): void {
    const shard = this.#shards.get(number);
    const at = shard?.entries.findIndex((entry) => entry.entryId === entryId) ?? -1;
    if (shard === undefined || at < 0) return;
    const trimmed = shard.entries.splice(0, at + 1);
    this.#note(() => shard.entries.unshift(...trimmed));
  }

  /** Entries after one, at most `limit`. */
  read(number: number, after: string, limit: number): readonly StreamEntry[] {
    const entries = this.#shards.get(number)?.entries ?? [];
    return entries.filter(({ entryId }) => compareEntryIds(entryId, after) > 0).slice(0, limit);
  }

  /** Comes back empty. */
  wipe(): void {
    this.wasTroubled = true;
    for (const [number, { entries }] of this.#shards) this.#watcher.lost(number, entries, "wiped");
    this.#shards = new Map();
    this.#limits.clear();
    this.#undo = [];
  }

  /** A replica takes over that has not had the last `writes` writes, or those of the last `lagMs`, and whose clock may be behind. */
  failOver(writes: number, lagMs: number, setBackMs: number): void {
    this.wasTroubled = true;
    const sinceMs = this.#nowMs() - lagMs;
    const young = this.#undo.filter(({ atMs }) => atMs > sinceMs);
    for (const { run } of young.slice(-writes).reverse()) run();
    for (const [shard, entries] of this.#losing) this.#watcher.lost(shard, entries, "failed over");
    this.#losing.clear();
    this.#undo = [];
    this.#setBackMs = setBackMs;
  }

  /** Somebody deletes the head of a shard: its epoch is forgotten, its entries are not. */
  forgetHead(number: number): void {
    this.wasTroubled = true;
    const shard = this.#shards.get(number);
    if (shard === undefined) return;
    shard.epoch = "";
    this.#undo = [];
  }

  beginLimits(number: number, epochCandidate: string, generation: string, hashes: readonly HashToBegin[]): BeginReply {
    const { epoch, last } = this.#ensure(number, epochCandidate);
    const states = hashes.map(({ hash, replaced }) =>
      this.#changing(hash, () =>
        this.#limits.begin(hash, { generation, lastEntryId: last }, replaced, this.nowMs, SEEDING_GIVEN_UP_MS),
      ),
    );
    return { epoch, lastEntryId: last, states: states.map((begun) => (begun ? "1" : "0")).join("") };
  }

  completeLimits(number: number, hash: string, begun: Begun, counters: readonly PlacedCounter[]): boolean {
    if (this.#shards.get(number)?.epoch !== begun.epoch) return false;
    return this.#changing(hash, () => this.#limits.complete(hash, begun, counters));
  }

  raiseVoidedLimits(hash: string, generation: string, counters: readonly PlacedCounter[]): void {
    this.#changing(hash, () => this.#limits.raiseVoided(hash, generation, counters));
  }

  lookAtLimits(number: number, hashes: readonly string[]): IntakeLook {
    const { epoch = "", last = "" } = this.#shards.get(number) ?? {};
    return { epoch, lastEntryId: epoch === "" ? "" : last, keys: hashes.map((hash) => this.#limits.read(hash)) };
  }

  /** Somebody deletes the counters of a key. */
  forgetLimits(hash: string): void {
    this.#changing(hash, () => this.#limits.delete(hash));
  }

  /** Goes with the write before it: a replica that lacks that lacks this too. */
  #changing<T>(hash: string, change: () => T): T {
    const setBack = this.#limits.memory(hash);
    const result = change();
    const last = this.#undo.at(-1);
    if (last !== undefined) {
      const { run } = last;
      last.run = () => {
        setBack();
        run();
      };
    }
    return result;
  }

  #ensure(number: number, candidate: string): Shard {
    let shard = this.#shards.get(number);
    if (shard === undefined) {
      shard = { epoch: "", last: FIRST_ENTRY_ID, entries: [], seen: new Map() };
      this.#shards.set(number, shard);
    }
    if (shard.epoch === "") {
      shard.epoch = candidate;
      shard.last = shard.entries.at(-1)?.entryId ?? FIRST_ENTRY_ID;
    }
    return shard;
  }

  #seen(shard: Shard, key: string): string | undefined {
    const known = shard.seen.get(key);
    return known !== undefined && known.untilMs > this.nowMs ? known.fingerprint : undefined;
  }

  #add(number: number, shard: Shard, entry: StoredEntry, setBack: readonly (() => void)[]): void {
    shard.entries.push(entry);
    shard.last = entry.entryId;
    this.#watcher.appended(number, entry);
    this.#note(() => {
      for (const run of setBack) run();
      shard.last = entry.previousEntryId;
      shard.entries = shard.entries.filter((one) => one !== entry);
      this.#losing.set(number, [entry, ...(this.#losing.get(number) ?? [])]);
    });
  }

  #remember(shard: Shard, key: string, fingerprint: string, untilMs: number): void {
    shard.seen.set(key, { fingerprint, untilMs });
    this.#note(() => shard.seen.delete(key));
  }

  #note(run: () => void): void {
    this.#undo.push({ atMs: this.#nowMs(), run });
    if (this.#undo.length > UNDONE_MAX) this.#undo.shift();
  }
}

function nextId(last: string, nowMs: number, noise: number): string {
  const [lastMs = "0", lastSequence = "0"] = last.split("-");
  if (nowMs > Number(lastMs)) return `${nowMs}-${noise}`;
  return `${lastMs}-${BigInt(lastSequence) + 1n + BigInt(noise)}`;
}
