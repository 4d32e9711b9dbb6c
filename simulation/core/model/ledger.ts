// The ledger's tables, and the apply, as plainly as they can be said. Each method is one transaction: all of it at one instant, or none.
import type {
  ApplyOutcome,
  ApplyResult,
  CursorMove,
  ShardState,
  VoidedRecord,
  VoidRequest,
  VoidResult,
} from "../../../src/app/ports/ledger.ts";
import type { LedgerSnapshot } from "../../../src/app/ports/limits.ts";
import { FIRST_ENTRY_ID } from "../../../src/domain/entry-id.ts";
import { addToCounters } from "../../../src/domain/limit-counters.ts";
import { type KeyRef, keyId, type LimitDelta, limitDeltas } from "../../../src/domain/limits.ts";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { type BatchSums, negated, type RollupDelta, type Series, sumBatch } from "../../../src/domain/rollup.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { compareText, type UsageRecord } from "../../../src/domain/usage-record.ts";

export interface Gap {
  readonly shard: number;
  /** Undefined: from the beginning. */
  readonly fromMs: number | undefined;
  readonly toMs: number;
  readonly oldEpoch: string;
  readonly newEpoch: string;
  readonly cursor: string;
}

/** What waits for Stripe. */
export interface WindowRow {
  readonly customerId: string;
  readonly eventName: string;
  readonly payload: string;
  readonly windowStartMs: number;
  readonly windowEndMs: number;
  total: bigint;
  reported: bigint;
  accepted: bigint;
  nextSequence: number;
}

/** A sum of a series, in a quarter-hour or a day. */
export type RollupRow = { -readonly [K in keyof RollupDelta]: RollupDelta[K] };

/** Told what the ledger does. */
export interface LedgerWatcher {
  /** `version`: of the record's shard, from which on it is in the sums. */
  applied(record: UsageRecord, version: bigint): void;
  /** Its sums are taken back, from this version on. */
  voided(record: UsageRecord, version: bigint): void;
  refused(record: UsageRecord): void;
  watermark(shard: number, beforeMs: number | undefined, afterMs: number): void;
}

export class ModelLedger {
  readonly shardRows: { -readonly [K in keyof ShardState]: ShardState[K] }[];
  readonly gaps: Gap[] = [];
  /** Fingerprints by identity. */
  readonly keys = new Map<string, string>();
  readonly windows = new Map<string, WindowRow>();
  readonly quarterHours = new Map<string, RollupRow>();
  readonly days = new Map<string, RollupRow>();
  readonly series = new Map<string, Series>();
  /** By identity, as what follows. */
  readonly records = new Map<string, UsageRecord>();
  readonly voids = new Map<string, VoidedRecord>();
  /** By shard. */
  readonly versions: bigint[];
  /** Customers that a version names, by shard and version. */
  readonly #named = new Map<string, readonly string[]>();
  /** Billing-period boundaries, by customer. */
  readonly boundaries = new Map<string, readonly number[]>();
  readonly #catalog: MeterCatalog;
  readonly #watcher: LedgerWatcher;

  constructor(shardCount: number, catalog: MeterCatalog, watcher: LedgerWatcher) {
    this.#catalog = catalog;
    this.#watcher = watcher;
    this.versions = Array.from({ length: shardCount }, () => 0n);
    this.shardRows = Array.from({ length: shardCount }, (_, shard) => {
      return { shard, epoch: "", cursor: FIRST_ENTRY_ID, watermarkMs: undefined };
    });
  }

  apply(records: readonly UsageRecord[], move: CursorMove | undefined): ApplyResult {
    if (move !== undefined) {
      const row = this.shardRows[move.shard];
      if (row === undefined || row.epoch !== move.epoch || row.cursor !== move.fromEntryId)
        return { kind: "cursor_moved" };
      row.cursor = move.toEntryId;
    }
    const shards = move === undefined ? records.map((record) => this.#shardOf(record)) : [move.shard];
    for (const shard of new Set(shards))
      this.#changed(
        shard,
        records.filter((record) => this.#shardOf(record) === shard).map(({ customerId }) => customerId),
      );
    const outcomes = records.map((record): ApplyOutcome => {
      const identity = identityOf(record);
      const known = this.keys.get(identity);
      if (known === undefined) this.keys.set(identity, record.fingerprint);
      return known === undefined ? "applied" : known === record.fingerprint ? "duplicate" : "key_reused";
    });
    this.#write(records.filter((_, i) => outcomes[i] === "applied"));
    if (move !== undefined) {
      for (const [i, record] of records.entries()) if (outcomes[i] === "key_reused") this.#watcher.refused(record);
      this.#raise(move.shard, move.watermarkMs);
    }
    return { kind: "applied", outcomes };
  }

  shards(): readonly ShardState[] {
    return this.shardRows.map((row) => ({ ...row }));
  }

  adoptEpoch(shard: number, fromEpoch: string, toEpoch: string, nowMs: number): boolean {
    const row = this.shardRows[shard];
    if (row === undefined || row.epoch !== fromEpoch) return false;
    if (fromEpoch !== "") this.#gap(row, toEpoch, nowMs);
    row.epoch = toEpoch;
    row.cursor = FIRST_ENTRY_ID;
    this.#changed(shard, undefined);
    return true;
  }

  reportLostTail({ shard, epoch, cursor }: ShardState, nowMs: number): void {
    const row = this.shardRows[shard];
    if (row !== undefined && row.epoch === epoch && row.cursor === cursor) this.#gap(row, epoch, nowMs);
  }

  raiseWatermarks(seen: readonly ShardState[]): void {
    for (const { shard, epoch, cursor, watermarkMs } of seen) {
      const row = this.shardRows[shard];
      if (row?.epoch === epoch && row.cursor === cursor && watermarkMs !== undefined) this.#raise(shard, watermarkMs);
    }
  }

  #shardOf({ customerId }: Pick<UsageRecord, "customerId">): number {
    return shardOf(customerId, this.shardRows.length);
  }

  versionOf(shard: number): bigint {
    return this.versions[shard] ?? 0n;
  }

  /** Whose totals may differ between a version and now; undefined: anybody's. */
  changedSince(shard: number, version: bigint): readonly string[] | undefined {
    const customers = new Set<string>();
    for (let next = version + 1n; next <= this.versionOf(shard); next += 1n) {
      const named = this.#named.get(`${shard} ${next}`);
      if (named === undefined) return undefined;
      for (const customer of named) customers.add(customer);
    }
    return [...customers].sort(compareText);
  }

  #changed(shard: number, customers: readonly string[] | undefined): void {
    const version = this.versionOf(shard) + 1n;
    this.versions[shard] = version;
    if (customers !== undefined) this.#named.set(`${shard} ${version}`, customers);
  }

  #raise(shard: number, watermarkMs: number): void {
    const row = this.shardRows[shard];
    if (row === undefined || (row.watermarkMs !== undefined && row.watermarkMs >= watermarkMs)) return;
    const before = row.watermarkMs;
    row.watermarkMs = watermarkMs;
    this.#watcher.watermark(shard, before, watermarkMs);
  }

  #gap({ shard, epoch, cursor, watermarkMs }: ShardState, newEpoch: string, nowMs: number): void {
    const same = (gap: Gap) =>
      gap.shard === shard && gap.oldEpoch === epoch && gap.newEpoch === newEpoch && gap.cursor === cursor;
    if (this.gaps.some(same)) return;
    const toMs = Math.max(nowMs, watermarkMs ?? nowMs);
    this.gaps.push({ shard, fromMs: watermarkMs, toMs, oldEpoch: epoch, newEpoch, cursor });
  }

  #write(records: readonly UsageRecord[]): void {
    if (records.length === 0) return;
    const sums = sumBatch(records, this.#catalog, (customerId) => this.boundaries.get(customerId) ?? []);
    this.#add(sums);
    for (const record of records) {
      this.records.set(identityOf(record), record);
      this.#watcher.applied(record, this.versionOf(this.#shardOf(record)));
    }
  }

  /** Counters of limits, worked out from the records: the tables keep them as they change. All keys are defined. */
  limitSnapshot(shard: number, keys: readonly KeyRef[], meters: readonly string[]): LedgerSnapshot {
    const { epoch = "", cursor = FIRST_ENTRY_ID } = this.shardRows[shard] ?? {};
    const counters = keys.map((key) => {
      const records = [...this.records.values()].filter((record) => keyId(record) === keyId(key));
      const voided = limitDeltas(
        records.filter((record) => this.voids.has(identityOf(record))),
        meters,
      );
      return addToCounters([], limitDeltas(records, meters)).map((counter) => {
        const isSame = (one: LimitDelta) =>
          one.window === counter.window && one.windowStartMs === counter.windowStartMs;
        return { ...counter, voided: voided.find(isSame)?.used ?? 0n };
      });
    });
    return { epoch, cursor, counters };
  }

  voidRecord({ reason, ...of }: VoidRequest, nowMs: number): VoidResult {
    const identity = identityOf(of);
    const record = this.records.get(identity);
    if (record === undefined) return { kind: "not_found" };
    const before = this.voids.get(identity);
    if (before !== undefined) return { kind: "already_voided", record: before };
    this.#changed(this.#shardOf(record), [record.customerId]);
    const sums = sumBatch([record], this.#catalog, (customerId) => this.boundaries.get(customerId) ?? []);
    this.#add(negated(sums));
    for (const rows of [this.quarterHours, this.days]) clearEmpty(rows, [...sums.quarterHours, ...sums.days]);
    const { apiKeyId, eventTimeMs, measurements } = record;
    const voided = { apiKeyId, eventTimeMs, measurements, reason, voidedAtMs: nowMs };
    this.voids.set(identity, voided);
    this.#watcher.voided(record, this.versionOf(this.#shardOf(record)));
    return { kind: "voided", record: voided };
  }

  #add({ series, quarterHours, days, pending }: BatchSums): void {
    for (const { customerId, eventName, payload, windowStartMs, windowEndMs, quantity } of pending) {
      const window = this.windowAt({ customerId, eventName, payload, windowStartMs }, windowEndMs);
      window.total += quantity;
    }
    for (const one of series) this.series.set(one.seriesId, one);
    addAll(this.quarterHours, quarterHours);
    addAll(this.days, days);
  }

  /** The window's row; made, empty, where it is not there. */
  windowAt(key: WindowKey, windowEndMs: number): WindowRow {
    const name = windowName(key);
    let window = this.windows.get(name);
    if (window === undefined) {
      const { customerId, eventName, payload, windowStartMs } = key;
      const empty = { total: 0n, reported: 0n, accepted: 0n, nextSequence: 0 };
      window = { customerId, eventName, payload, windowStartMs, windowEndMs, ...empty };
      this.windows.set(name, window);
    }
    return window;
  }
}

export type WindowKey = Pick<WindowRow, "customerId" | "eventName" | "payload" | "windowStartMs">;

export function windowName({ customerId, eventName, payload, windowStartMs }: WindowKey): string {
  return `${customerId} ${windowStartMs} ${eventName} ${payload}`;
}

export function identityOf({ customerId, idempotencyKey }: Pick<UsageRecord, "customerId" | "idempotencyKey">): string {
  return `${customerId} ${idempotencyKey}`;
}

function clearEmpty(rows: Map<string, RollupRow>, deltas: readonly RollupDelta[]): void {
  for (const { seriesId, windowStartMs } of deltas) {
    const key = `${seriesId} ${windowStartMs}`;
    const row = rows.get(key);
    if (row?.recordCount === 0n && row.quantity === 0n) rows.delete(key);
  }
}

function addAll(rows: Map<string, RollupRow>, deltas: readonly RollupDelta[]): void {
  for (const delta of deltas) {
    const key = `${delta.seriesId} ${delta.windowStartMs}`;
    const row = rows.get(key);
    if (row === undefined) rows.set(key, { ...delta });
    else {
      row.quantity += delta.quantity;
      row.recordCount += delta.recordCount;
    }
  }
}
