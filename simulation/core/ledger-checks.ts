// Rules about the way into the ledger, looked at whenever something moves, and in the end.
import { compareEntryIds } from "../../src/domain/entry-id.ts";
import { shardOf } from "../../src/domain/shard.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import type { History } from "./history.ts";
import { identityOf, type LedgerWatcher, type ModelLedger } from "./model/ledger.ts";
import type { RedisWatcher, StoredEntry } from "./model/redis.ts";
import { contentOf, type Oracle } from "./oracle.ts";
import type { ReadChecks } from "./reads/read-checks.ts";

/** How far clocks of two machines that are Redis one after the other may differ. */
export const REDIS_SET_BACK_MS = 400;

export class LedgerChecks implements LedgerWatcher, RedisWatcher {
  readonly #oracle: Oracle;
  readonly #history: History;
  /** Entries of each shard that the watermark has not passed, in order. */
  readonly #ahead = new Map<number, StoredEntry[]>();
  /** Where the ledger stands in a shard's stream. */
  cursorOf: (shard: number) => { readonly epoch: string; readonly cursor: string } | undefined = () => undefined;
  readonly #watermarks = new Map<number, number>();

  /** First entries of tails that were lost after the ledger had some of them: those losses can be seen, and must be. */
  readonly #cutTails: { readonly shard: number; readonly appendedMs: number }[] = [];
  /** Shards that lost writes which had been answered, or may have. */
  readonly tailsLost = new Set<number>();
  readonly #waitsForReplicas: boolean;
  readonly #reads: ReadChecks;

  constructor(oracle: Oracle, history: History, waitsForReplicas: boolean, reads: ReadChecks) {
    this.#reads = reads;
    this.#waitsForReplicas = waitsForReplicas;
    this.#oracle = oracle;
    this.#history = history;
  }

  appended(shard: number, entry: StoredEntry): void {
    this.#history.note(
      () =>
        `redis: shard ${shard} appends ${entry.entryId} of ${entry.epoch}: ${entry.records.map(identityOf).join(", ")}`,
      `shard ${shard}`,
      ...entry.records.map(identityOf),
    );
    // By a clock that was set back, what comes now seems to come before the watermark, or before one that is on its way to the ledger.
    if (entry.isSetBack || entry.appendedMs < (this.#watermarks.get(shard) ?? 0)) return;
    this.#reads.appended(entry);
    const ahead = this.#ahead.get(shard);
    if (ahead === undefined) this.#ahead.set(shard, [entry]);
    else ahead.push(entry);
  }

  /**
   * A failover to a replica that writes do not wait for may lose answered records, says the manual; where the drain had seen nothing of what
   * is lost, nobody can know of it.
   */
  lost(shard: number, entries: readonly StoredEntry[], why: "wiped" | "failed over"): void {
    const [first] = entries;
    const cursor = this.cursorOf(shard);
    const wasSeen =
      first !== undefined &&
      cursor !== undefined &&
      cursor.epoch === first.epoch &&
      compareEntryIds(cursor.cursor, first.entryId) >= 0;
    if (why === "failed over" && wasSeen && first !== undefined)
      this.#cutTails.push({ shard, appendedMs: first.appendedMs });
    const isExcused = why === "failed over" && !wasSeen && !this.#waitsForReplicas;
    if (why === "failed over" && !this.#waitsForReplicas) this.tailsLost.add(shard);
    const gone = new Set(entries);
    this.#ahead.set(
      shard,
      (this.#ahead.get(shard) ?? []).filter((entry) => !gone.has(entry)),
    );
    for (const entry of entries) {
      this.#oracle.loses(shard, entry, isExcused);
      this.#reads.lost(entry);
      this.#history.note(
        () => `redis: shard ${shard} loses ${entry.entryId}, ${why}${isExcused ? ", unseen" : ""}`,
        `shard ${shard}`,
        ...entry.records.map(identityOf),
      );
    }
  }

  applied(record: UsageRecord, version: bigint): void {
    const identity = identityOf(record);
    this.#reads.applied(record, version);
    this.#history.note(() => `ledger: counts ${identity}`, identity);
    this.#oracle.counts(record);
  }

  voided(record: UsageRecord, version: bigint): void {
    const identity = identityOf(record);
    this.#history.note(() => `ledger: takes back ${identity}`, identity);
    this.#reads.voided(record, version);
    this.#oracle.voids(record);
  }

  refused(record: UsageRecord): void {
    this.#oracle.refuses(record);
  }

  /** Every record acknowledged before the watermark is in the ledger. */
  watermark(shard: number, beforeMs: number | undefined, afterMs: number): void {
    this.#history.note(() => `ledger: watermark of shard ${shard} is ${afterMs}`, `watermark ${shard}`);
    if (beforeMs !== undefined && afterMs < beforeMs)
      this.#oracle.fail(
        "watermark",
        `the watermark of shard ${shard} goes back from ${beforeMs} to ${afterMs}`,
        `shard ${shard}`,
      );
    this.#watermarks.set(shard, afterMs);
    const ahead = this.#ahead.get(shard) ?? [];
    const passed = ahead.filter(({ appendedMs }) => appendedMs < afterMs);
    if (passed.length === 0) return;
    this.#ahead.set(
      shard,
      ahead.filter(({ appendedMs }) => appendedMs >= afterMs),
    );
    for (const { records, entryId } of passed) {
      const missing = records.map(identityOf).find((identity) => !this.#oracle.applied.has(identity));
      if (missing !== undefined)
        this.#oracle.fail(
          "watermark",
          `the watermark of shard ${shard} has passed ${entryId}, but ${missing} is not in the ledger`,
          `shard ${shard}`,
          missing,
        );
    }
  }

  /** In the end: nothing that was acknowledged is missing, but for what is in a gap. */
  atTheEnd(ledger: ModelLedger): void {
    const oracle = this.#oracle;
    for (const [identity, variants] of oracle.sent) {
      for (const [content, { record, acknowledged }] of variants) {
        const counted = oracle.applied.get(identity);
        if (!acknowledged || (counted !== undefined && contentOf(counted) === content)) continue;
        if (oracle.refused.has(`${identity} ${content}`)) continue;
        if (this.#inGap(record, ledger)) continue;
        oracle.fail(
          "acknowledged",
          `${identity} was acknowledged, and is neither in the ledger nor in a gap`,
          identity,
          `shard ${shardOf(record.customerId, ledger.shardRows.length)}`,
        );
      }
    }
    for (const { shard, appendedMs } of this.#cutTails)
      if (!ledger.gaps.some((gap) => gap.shard === shard && gap.toMs + REDIS_SET_BACK_MS >= appendedMs))
        oracle.fail("gaps", `shard ${shard} lost its tail from ${appendedMs} on, and no gap says so`, `shard ${shard}`);
    this.#sums(ledger);
  }

  #inGap(record: UsageRecord, ledger: ModelLedger): boolean {
    const lost = this.#oracle.lost.filter(
      (one) => identityOf(one.record) === identityOf(record) && contentOf(one.record) === contentOf(record),
    );
    return lost.some(
      ({ shard, appendedMs, isExcused }) =>
        isExcused ||
        ledger.gaps.some(
          (gap) =>
            gap.shard === shard &&
            (gap.fromMs ?? 0) <= appendedMs + REDIS_SET_BACK_MS &&
            appendedMs <= gap.toMs + REDIS_SET_BACK_MS,
        ),
    );
  }

  /** Pending windows and rollups add up to the records. */
  #sums(ledger: ModelLedger): void {
    const oracle = this.#oracle;
    const pending = new Map<string, bigint>();
    for (const { customerId, eventName, total } of ledger.windows.values()) {
      const key = `${customerId} ${eventName}`;
      pending.set(key, (pending.get(key) ?? 0n) + total);
    }
    for (const [key, sum] of oracle.billable())
      if ((pending.get(key) ?? 0n) !== sum)
        oracle.fail("sums", `${key}: windows hold ${pending.get(key) ?? 0n}, its records bill ${sum}`, key);
    let measured = 0n;
    for (const { measurements } of oracle.counting())
      measured += measurements.reduce((sum, { quantity }) => sum + quantity, 1n);
    for (const [name, rollup] of [["quarter-hours", ledger.quarterHours] as const, ["days", ledger.days] as const]) {
      const sum = [...rollup.values()].reduce((total, { quantity }) => total + quantity, 0n);
      if (sum !== measured) oracle.fail("sums", `${name} hold ${sum}, records ${measured}`);
    }
  }
}
