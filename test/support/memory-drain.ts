// The drain's ports in memory, with the misfortunes of real stores at hand: for tests of its order of steps, thousands a second.
import type { Clock } from "../../src/app/ports/clock.ts";
import type { ApplyResult, CursorMove, Ledger, ShardState, WorkerRegistry } from "../../src/app/ports/ledger.ts";
import type { ShardStream, StreamEntry, StreamState } from "../../src/app/ports/shard-stream.ts";
import { compareEntryIds, FIRST_ENTRY_ID } from "../../src/domain/entry-id.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import { randomFrom } from "./seed.ts";

/** Runs before each operation of a store, with its name; may wait, and may throw before or after the operation took effect. */
export type Misfortune = (operation: string, when: "before" | "after") => Promise<void> | void;

/** Time that passes by being slept through. */
export class VirtualClock implements Clock {
  #nowMs = 1_700_000_000_000;

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  async sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#nowMs += delayMs;
  }
}

/** One shard's stream, appended to by the test. */
export class MemoryStream implements ShardStream {
  readonly #clock: VirtualClock;
  readonly #misfortune: Misfortune;
  #epochs = 1;
  #noise = 0;
  readonly #random = randomFrom(1);
  #setBackMs = 0;
  /** Ids ever appended in this history, trimmed ones too. */
  #history: string[] = [];
  #entries: StreamEntry[] = [];

  constructor(clock: VirtualClock, misfortune: Misfortune = () => {}) {
    this.#clock = clock;
    this.#misfortune = misfortune;
  }

  get epoch(): string {
    return `epoch-${this.#epochs}`;
  }

  get lastEntryId(): string {
    return this.#history.at(-1) ?? FIRST_ENTRY_ID;
  }

  get entries(): readonly StreamEntry[] {
    return this.#entries;
  }

  /** Whether the entry is part of what the stream has been, as far as it remembers. */
  has(entryId: string): boolean {
    return this.#history.includes(entryId);
  }

  /** One group commit. Returns its id. */
  append(...records: UsageRecord[]): string {
    // As in Redis: no two appends make the same id, in whatever history of the stream.
    this.#noise = Math.floor(this.#random() * 2 ** 24);
    const previousEntryId = this.lastEntryId;
    const lastMs = Number.parseInt(previousEntryId, 10);
    const nowMs = this.#clock.nowMs() - this.#setBackMs;
    const sequence = BigInt(previousEntryId.split("-")[1] ?? 0) + 1n;
    const entryId = nowMs > lastMs ? `${nowMs}-${this.#noise}` : `${lastMs}-${sequence + BigInt(this.#noise)}`;
    this.#entries.push({ entryId, previousEntryId, epoch: this.epoch, records });
    this.#history.push(entryId);
    return entryId;
  }

  /** Comes back empty. */
  wipe(): void {
    this.#epochs += 1;
    this.#history = [];
    this.#entries = [];
  }

  /** Comes back without its last `count` entries, on a machine whose clock is behind. */
  loseTail(count: number, setBackMs = 0): void {
    this.#history = this.#history.slice(0, Math.max(0, this.#history.length - count));
    const last = this.lastEntryId;
    this.#entries = this.#entries.filter((entry) => compareEntryIds(entry.entryId, last) <= 0);
    this.#setBackMs = setBackMs;
  }

  /** The epoch is forgotten, the entries are not. */
  loseEpoch(): void {
    this.#epochs += 1;
    const last = this.#entries.at(-1)?.entryId;
    this.#history = last === undefined ? [] : [last];
  }

  /** Somebody deletes entries by hand. */
  delete(entryId: string): void {
    this.#entries = this.#entries.filter((entry) => entry.entryId !== entryId);
  }

  async read(_shard: number, afterEntryId: string, signal: AbortSignal): Promise<readonly StreamEntry[]> {
    await this.#misfortune("read", "before");
    const after = () => this.#entries.filter((entry) => compareEntryIds(entry.entryId, afterEntryId) > 0).slice(0, 5);
    if (after().length === 0) await this.#clock.sleep(1_000, signal);
    return signal.aborted ? [] : after();
  }

  async state(): Promise<StreamState> {
    await this.#misfortune("state", "before");
    const nowMs = this.#clock.nowMs() - this.#setBackMs;
    return { epoch: this.epoch, lastEntryId: this.lastEntryId, entryCount: this.#entries.length, nowMs };
  }

  async trim(_shard: number, entryId: string): Promise<void> {
    await this.#misfortune("trim", "before");
    if (!this.#entries.some((entry) => entry.entryId === entryId)) return;
    this.#entries = this.#entries.filter((entry) => compareEntryIds(entry.entryId, entryId) > 0);
  }
}

/** One ledger: what was counted how often, cursors, gaps. Rows of shards are there from the start. */
export class MemoryLedger implements Ledger {
  readonly #misfortune: Misfortune;
  readonly #shards: ShardState[];
  /** Fingerprints by customer and key. */
  readonly #keys = new Map<string, string>();
  /** Idempotency keys, in the order they were counted. */
  readonly counted: string[] = [];
  readonly gaps: { epoch: string; cursor: string; toEpoch: string }[] = [];

  constructor(shardCount: number, misfortune: Misfortune = () => {}) {
    this.#misfortune = misfortune;
    this.#shards = Array.from({ length: shardCount }, (_, shard) => {
      return { shard, epoch: "", cursor: FIRST_ENTRY_ID, watermarkMs: undefined };
    });
  }

  shard(shard: number): ShardState {
    const state = this.#shards[shard];
    if (state === undefined) throw new Error(`no shard ${shard}`);
    return state;
  }

  async apply(records: readonly UsageRecord[], move?: CursorMove): Promise<ApplyResult> {
    await this.#misfortune("apply", "before");
    if (move !== undefined) {
      const { epoch, cursor, watermarkMs } = this.shard(move.shard);
      if (epoch !== move.epoch || cursor !== move.fromEntryId) return { kind: "cursor_moved" };
      const raisedMs = Math.max(watermarkMs ?? 0, move.watermarkMs);
      this.#shards[move.shard] = { shard: move.shard, epoch, cursor: move.toEntryId, watermarkMs: raisedMs };
    }
    const outcomes = records.map((record) => {
      const key = JSON.stringify([record.customerId, record.idempotencyKey]);
      const known = this.#keys.get(key);
      if (known !== undefined) return known === record.fingerprint ? "duplicate" : "key_reused";
      this.#keys.set(key, record.fingerprint);
      this.counted.push(record.idempotencyKey);
      return "applied";
    });
    await this.#misfortune("apply", "after");
    return { kind: "applied", outcomes };
  }

  async shards(): Promise<readonly ShardState[]> {
    await this.#misfortune("shards", "before");
    return [...this.#shards];
  }

  async adoptEpoch(shard: number, fromEpoch: string, toEpoch: string): Promise<boolean> {
    await this.#misfortune("adoptEpoch", "before");
    const { epoch, cursor, watermarkMs } = this.shard(shard);
    if (epoch !== fromEpoch) return false;
    if (epoch !== "") this.#gap({ epoch, cursor, toEpoch });
    this.#shards[shard] = { shard, epoch: toEpoch, cursor: FIRST_ENTRY_ID, watermarkMs };
    await this.#misfortune("adoptEpoch", "after");
    return true;
  }

  async reportLostTail({ epoch, cursor }: ShardState): Promise<void> {
    await this.#misfortune("reportLostTail", "before");
    this.#gap({ epoch, cursor, toEpoch: epoch });
    await this.#misfortune("reportLostTail", "after");
  }

  async raiseWatermarks(seen: readonly ShardState[]): Promise<void> {
    await this.#misfortune("raiseWatermarks", "before");
    for (const { shard, epoch, cursor, watermarkMs } of seen) {
      const state = this.shard(shard);
      if (state.epoch !== epoch || state.cursor !== cursor || watermarkMs === undefined) continue;
      this.#shards[shard] = { ...state, watermarkMs: Math.max(state.watermarkMs ?? 0, watermarkMs) };
    }
  }

  #gap(gap: { epoch: string; cursor: string; toEpoch: string }): void {
    const same = (known: typeof gap) => JSON.stringify(known) === JSON.stringify(gap);
    if (!this.gaps.some(same)) this.gaps.push(gap);
  }
}

/** All workers live until they leave or are forgotten. */
export class MemoryRegistry implements WorkerRegistry {
  readonly #live = new Set<string>();

  async heartbeat(workerId: string): Promise<readonly string[]> {
    this.#live.add(workerId);
    return [...this.#live].sort();
  }

  async leave(workerId: string): Promise<void> {
    this.#live.delete(workerId);
  }
}
