// The intake on Redis: one script call per shard for all records that wait, fsynced by Redis before it answers.
import type { Redis } from "ioredis";
import { GroupCommitLane } from "../app/group-commit.ts";
import type { Intake, IntakePosition, IntakeResult } from "../app/ports/intake.ts";
import { MeteringError } from "../domain/errors.ts";
import type { KeyRef } from "../domain/limits.ts";
import { shardOf } from "../domain/shard.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { countCommit } from "./counted-items.ts";
import { seenKey } from "./keys.ts";
import { encodeRecord } from "./record-line.ts";
import { type AppendItem, runAppend } from "./scripts.ts";

/** Bounds of the intake. */
export interface RedisIntakeLimits {
  /** Most records in one script call, 1..5,000: Lua takes no more keys at once. Default 1,000. */
  readonly batchRecords: number;
  /** Most records that wait for a shard's next call, at least batchRecords; past it intake_full. Default 20,000. */
  readonly waitingRecords: number;
  /** Most entries (group commits) that a shard's stream holds before the ledger has them; past it intake_full. Default 100,000. */
  readonly streamEntries: number;
}

export const REDIS_INTAKE_LIMITS: RedisIntakeLimits = {
  batchRecords: 1_000,
  waitingRecords: 20_000,
  streamEntries: 100_000,
};

export interface RedisIntakeOptions {
  readonly client: Redis;
  /** As fixed at the deployment's first start. */
  readonly shardCount: number;
  /** How long a key is remembered here; the ledger remembers longer. */
  readonly duplicateWindowMs: number;
  /** A string that nobody else makes; names a stream that is new. */
  readonly randomId: () => string;
  /** In [0, 1). */
  readonly random: () => number;
  readonly limits: RedisIntakeLimits;
  /** The answer waits until so many replicas have it; 0 for none. */
  readonly waitReplicas: number;
  /** How long to wait for them, less than the client's command timeout; past it the record is intake_unavailable. */
  readonly waitReplicasTimeoutMs: number;
  /** Meters that count towards limits of API keys. */
  readonly limitMeters: readonly string[];
  readonly nowMs: () => number;
  /** Told of API keys that records of a commit named and that are not counted, or not wholly yet; nothing waits for it. */
  readonly onUncounted: (keys: readonly KeyRef[]) => void;
  /** Told why the first commit after a good one failed; the callers learn only that the intake is away or full. */
  readonly onFailure: (cause: unknown) => void;
}

/** When to come again after a failure. */
const RETRY_MS = 500;

/** Opens the intake over a client from openRedis, which the caller closes afterwards. */
export function redisIntake(options: RedisIntakeOptions): Intake {
  return new RedisIntake(options);
}

class RedisIntake implements Intake {
  readonly #options: RedisIntakeOptions;
  readonly #lanes: readonly GroupCommitLane<UsageRecord, IntakeResult>[];
  #failing = false;

  constructor(options: RedisIntakeOptions) {
    this.#options = options;
    const { batchRecords, waitingRecords } = options.limits;
    this.#lanes = Array.from(
      { length: options.shardCount },
      (_, shard) =>
        new GroupCommitLane({
          commit: (records) => this.#commit(shard, records),
          maxBatch: batchRecords,
          maxWaiting: waitingRecords,
        }),
    );
  }

  async record(records: readonly UsageRecord[]): Promise<readonly IntakeResult[]> {
    const first = records[0];
    if (first === undefined) return [];
    if (records.length === 1) return await this.#submit(shardOf(first.customerId, this.#lanes.length), records);
    const results: IntakeResult[] = new Array(records.length);
    await Promise.all(
      groupByShard(records, this.#lanes.length, this.#options.limits.batchRecords).map(async (group) => {
        const ended = await this.#submit(group.shard, group.records);
        for (const [i, result] of ended.entries()) results[group.indexes[i] ?? 0] = result;
      }),
    );
    return results;
  }

  async #submit(shard: number, records: readonly UsageRecord[]): Promise<readonly IntakeResult[]> {
    const lane = this.#lanes[shard];
    if (lane === undefined) throw new RangeError(`shard ${shard} of ${this.#lanes.length}`);
    try {
      return await lane.submit(records);
    } catch (cause) {
      const error = cause instanceof MeteringError ? cause : failureOf(cause);
      if (error !== cause) this.#noteFailure(cause);
      return records.map(() => ({ error }));
    }
  }

  async #commit(shard: number, records: readonly UsageRecord[]): Promise<readonly IntakeResult[]> {
    const { client, duplicateWindowMs, randomId, random, limits, waitReplicas, limitMeters, onUncounted } =
      this.#options;
    const items: AppendItem[] = [];
    for (const record of records) {
      const { customerId, idempotencyKey, fingerprint } = record;
      items.push({
        seenKey: seenKey(shard, customerId, idempotencyKey),
        fingerprint,
        line: encodeRecord(record),
      });
    }
    const settings = {
      shard,
      duplicateWindowMs,
      epochCandidate: randomId(),
      idNoise: Math.floor(random() * 2 ** 24),
      streamEntriesMax: limits.streamEntries,
      alwaysWrite: waitReplicas > 0,
    };
    const nowMs = this.#options.nowMs();
    const counted = countCommit(shard, records, limitMeters, nowMs);
    const { epoch, lastEntryId, outcomes, usages } = await runAppend(client, settings, items, counted);
    if (waitReplicas > 0) await this.#awaitReplicas();
    this.#failing = false;
    const uncounted = counted.keys.filter((_, i) => usages[i] === "unknown");
    if (uncounted.length > 0) onUncounted(uncounted);
    const position: IntakePosition = { shard, epoch, entryId: lastEntryId };
    return records.map((record, i) => {
      const outcome = outcomes[i];
      if (outcome === "3") return { error: streamFull() };
      if (outcome === "2") return { error: keyReused(record) };
      const used = usages[counted.keyOfRecord[i] ?? -1];
      const usage = used === undefined || used === "unknown" ? undefined : { nowMs, ...used };
      return { outcome: outcome === "0" ? "recorded" : "duplicate", position, usage };
    });
  }

  #noteFailure(cause: unknown): void {
    if (!this.#failing) this.#options.onFailure(cause);
    this.#failing = true;
  }

  /** WAIT covers every write that this connection sent before it. It also holds up what other shards send meanwhile. */
  async #awaitReplicas(): Promise<void> {
    const { client, waitReplicas, waitReplicasTimeoutMs } = this.#options;
    const reached = await client.wait(waitReplicas, waitReplicasTimeoutMs);
    if (reached < waitReplicas) {
      throw new Error(`${reached} of ${waitReplicas} replicas answered within ${waitReplicasTimeoutMs} ms`);
    }
  }
}

interface ShardGroup {
  readonly shard: number;
  readonly records: UsageRecord[];
  /** Where in the call each record stood. */
  readonly indexes: number[];
}

/** Splits a call's records by shard, in order, into groups of at most `recordsMax`. */
function groupByShard(records: readonly UsageRecord[], shardCount: number, recordsMax: number): ShardGroup[] {
  const groups: ShardGroup[] = [];
  const open = new Map<number, ShardGroup>();
  for (const [index, record] of records.entries()) {
    const shard = shardOf(record.customerId, shardCount);
    let group = open.get(shard);
    if (group === undefined || group.records.length >= recordsMax) {
      group = { shard, records: [], indexes: [] };
      open.set(shard, group);
      groups.push(group);
    }
    group.records.push(record);
    group.indexes.push(index);
  }
  return groups;
}

/** OOM is refused before anything is written; of any other failure one cannot know. */
function failureOf(cause: unknown): MeteringError {
  if (cause instanceof Error && cause.message.startsWith("OOM")) {
    const failure = { kind: "intake_full", retryAfterMs: RETRY_MS } as const;
    return new MeteringError(failure, "the intake's memory is full; nothing was stored", { cause });
  }
  const failure = { kind: "intake_unavailable", retryAfterMs: RETRY_MS } as const;
  return new MeteringError(failure, "the intake did not answer; resend with the same key", { cause });
}

function streamFull(): MeteringError {
  const failure = { kind: "intake_full", retryAfterMs: RETRY_MS } as const;
  return new MeteringError(failure, "the intake waits for the ledger and is full; nothing was stored");
}

function keyReused({ customerId, idempotencyKey }: UsageRecord): MeteringError {
  const failure = { kind: "idempotency_key_reused", customerId, idempotencyKey } as const;
  return new MeteringError(failure, "the idempotency key stands for a different record of this customer");
}
