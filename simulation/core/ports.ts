// The ports of one process: each call goes over the wire to a model.
import type { Redis } from "ioredis";
import type { Ledger, WorkerRegistry } from "../../src/app/ports/ledger.ts";
import type { Lease } from "../../src/app/ports/reports.ts";
import type { ShardStream } from "../../src/app/ports/shard-stream.ts";
import { parseKey } from "../../src/redis/keys.ts";
import type { Machine } from "./machine.ts";
import type { ModelLease } from "./model/lease.ts";
import type { ModelLedger } from "./model/ledger.ts";
import type { CountedAppend } from "./model/limit-hashes.ts";
import { type ModelRedis, REPLICA_LAG_MS } from "./model/redis.ts";
import type { Wire } from "./wire.ts";

/** Entries that one read brings at most. */
const READ_ENTRIES = 4;

/** As much of a client as the intake uses: its one script, and the wait for a replica. */
export function redisClient(machine: Machine, wire: Wire, redis: ModelRedis): Redis {
  const evalsha = (_sha1: string, keyCount: number, ...args: readonly (string | number)[]) => {
    const texts = args.map(String);
    const [windowMs, epochCandidate = "", noise, entriesMax, , records, minute, day, , ...rest] = texts.slice(keyCount);
    const [stream = "", , ...others] = texts.slice(0, keyCount);
    const [seenKeys, hashes] = [others.slice(0, Number(records)), others.slice(Number(records))];
    const pairs = rest.slice(0, 2 * seenKeys.length);
    const counted = { ...countedOf(hashes, rest.slice(2 * seenKeys.length)), minute: Number(minute), day: Number(day) };
    const append = {
      shard: parseKey(stream)?.shard ?? -1,
      seenKeys,
      fingerprints: pairs.filter((_, i) => i % 2 === 0),
      lines: pairs.filter((_, i) => i % 2 === 1),
      duplicateWindowMs: Number(windowMs),
      epochCandidate,
      idNoise: Number(noise),
      entriesMax: Number(entriesMax),
      counted,
    };
    // The client sends again what a connection lost.
    return wire.call(
      machine,
      () => {
        const { epoch, last, outcomes, usages } = redis.append(append);
        return [epoch, last, outcomes, usages];
      },
      { repeatable: true },
    );
  };
  // As long as a replica is behind at most: by then it has what was written before. On the connection that wrote it.
  const wait = (replicas: number) => wire.call(machine, () => replicas, { holdMs: REPLICA_LAG_MS });
  return { evalsha, wait } as unknown as Redis;
}

/** What append.lua is told of records with API keys: five values each. */
function countedOf(hashes: readonly string[], values: readonly string[]): Pick<CountedAppend, "hashes" | "items"> {
  const items = new Map<number, { hash: string; minute: number; day: number; quantity: bigint }>();
  for (let at = 0; at + 4 < values.length; at += 5) {
    const [item, hash, minute, day] = values.slice(at, at + 4).map(Number) as [number, number, number, number];
    items.set(item - 1, { hash: hashes[hash - 1] ?? "", minute, day, quantity: BigInt(values[at + 4] ?? 0) });
  }
  return { hashes, items };
}

export interface StreamOptions {
  readonly randomId: () => string;
  /** How long a read waits for the first entry. */
  readonly blockMs: number;
}

export function shardStream(machine: Machine, wire: Wire, redis: ModelRedis, options: StreamOptions): ShardStream {
  const { randomId, blockMs } = options;
  const clock = machine.clock();
  return {
    async read(shard, afterEntryId, signal) {
      const read = () => redis.read(shard, afterEntryId, READ_ENTRIES);
      for (const waitMs of [blockMs, 0]) {
        if (signal.aborted) return [];
        const entries = await wire.call(machine, read, { signal }).catch((cause: unknown) => {
          if (signal.aborted) return [];
          throw cause;
        });
        if (entries.length > 0) return entries;
        if (waitMs > 0) await clock.sleep(waitMs, signal);
      }
      return [];
    },
    state: (shard) => wire.call(machine, () => redis.state(shard, randomId()), { repeatable: true }),
    trim: (shard, entryId) => wire.call(machine, () => redis.trim(shard, entryId), { repeatable: true }),
  };
}

export function ledgerPort(machine: Machine, wire: Wire, ledger: ModelLedger): Ledger {
  return {
    apply: (records, move) => wire.call(machine, () => ledger.apply(records, move)),
    shards: () => wire.call(machine, () => ledger.shards()),
    adoptEpoch: (...args) => wire.call(machine, () => ledger.adoptEpoch(...args)),
    reportLostTail: (...args) => wire.call(machine, () => ledger.reportLostTail(...args)),
    raiseWatermarks: (seen) => wire.call(machine, () => ledger.raiseWatermarks(seen)),
  };
}

export function leasePort(machine: Machine, wire: Wire, lease: ModelLease): Lease {
  return {
    acquire: (...args) => wire.call(machine, () => lease.acquire(...args)),
    renew: (grant) => wire.call(machine, () => lease.renew(grant)),
    release: (grant) => wire.call(machine, () => lease.release(grant)),
  };
}

/** Heartbeats in a table, on the database's clock. */
export class ModelRegistry {
  readonly #seen = new Map<string, number>();
  readonly #nowMs: () => number;
  readonly #liveMs: number;

  constructor(nowMs: () => number, liveMs: number) {
    this.#nowMs = nowMs;
    this.#liveMs = liveMs;
  }

  port(machine: Machine, wire: Wire): WorkerRegistry {
    return {
      heartbeat: (workerId) => wire.call(machine, () => this.#beat(workerId)),
      leave: (workerId) => wire.call(machine, () => void this.#seen.delete(workerId)),
    };
  }

  has(workerId: string): boolean {
    return this.#seen.has(workerId);
  }

  #beat(workerId: string): readonly string[] {
    this.#seen.set(workerId, this.#nowMs());
    const since = this.#nowMs() - this.#liveMs;
    return [...this.#seen].flatMap(([id, atMs]) => (atMs > since ? [id] : [])).sort();
  }
}
