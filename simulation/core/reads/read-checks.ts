// Rules about what readers are shown, looked at with every answer and every event of a stream.

import { shardOf } from "../../../src/domain/shard.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import type { Interval } from "../../../src/domain/window.ts";
import { identityOf, type ModelLedger } from "../model/ledger.ts";
import type { StoredEntry } from "../model/redis.ts";
import type { Oracle } from "../oracle.ts";
import { type Asked, differenceOf, type GivenTotal, type Totals, toTotals, totalsOf } from "./expected-totals.ts";

/** A record that came into the sums, or went out of them, with the shard's version from which on it is so. */
interface Change {
  readonly version: bigint;
  readonly record: UsageRecord;
  readonly isVoid: boolean;
}

/** What a reader was shown last, or holds by now. */
export interface Shown {
  readonly asked: Asked;
  readonly interval: Interval;
  readonly grainMs: number;
  readonly totals: Totals;
  readonly watermarkMs: number;
}

/** Who was shown it, for the history, and what it saw before. */
export interface Viewer {
  readonly name: string;
  seenWatermarkMs: number;
  seenVersion: bigint;
}

export class ReadChecks {
  readonly #oracle: Oracle;
  /** Where acknowledged means counted, when each record was, by the clock that watermarks are read from; else nothing. */
  readonly #countedNowMs: (() => number) | undefined;
  readonly #changes = new Map<string, Change[]>();
  /** When each record became durable, by the clock that watermarks are read from. */
  readonly #durable = new Map<
    string,
    { readonly identity: string; readonly atMs: number; readonly entry?: StoredEntry }[]
  >();
  readonly #versionOf = new Map<string, bigint>();

  constructor(oracle: Oracle, countedNowMs: (() => number) | undefined) {
    this.#oracle = oracle;
    this.#countedNowMs = countedNowMs;
  }

  appended(entry: StoredEntry): void {
    for (const record of entry.records)
      this.#listOf(this.#durable, record.customerId).push({
        identity: identityOf(record),
        atMs: entry.appendedMs,
        entry,
      });
  }

  lost(entry: StoredEntry): void {
    for (const { customerId } of entry.records) {
      const left = (this.#durable.get(customerId) ?? []).filter((one) => one.entry !== entry);
      this.#durable.set(customerId, left);
    }
  }

  applied(record: UsageRecord, version: bigint): void {
    const identity = identityOf(record);
    this.#listOf(this.#changes, record.customerId).push({ version, record, isVoid: false });
    this.#versionOf.set(identity, version);
    if (this.#countedNowMs !== undefined)
      this.#listOf(this.#durable, record.customerId).push({ identity, atMs: this.#countedNowMs() });
  }

  voided(record: UsageRecord, version: bigint): void {
    this.#listOf(this.#changes, record.customerId).push({ version, record, isVoid: true });
  }

  /** The version from which on a record is in the sums; undefined: it is not. */
  versionOf(identity: string): bigint | undefined {
    return this.#versionOf.get(identity);
  }

  /** An event of a stream, which says of which version it is. What the reader holds after it is what was in the sums then. */
  streamed(viewer: Viewer, shown: Shown, version: bigint): void {
    if (version < viewer.seenVersion)
      this.#oracle.fail(
        "live totals",
        `${viewer.name} sees version ${version} after ${viewer.seenVersion}`,
        viewer.name,
      );
    viewer.seenVersion = version;
    this.watermark(viewer, shown, version);
    this.#fits(viewer, shown, version);
  }

  /**
   * An answer that does not say of which version it is: of one that was the shard's between the question and the answer, and in which the
   * records of `own` are.
   */
  answered(viewer: Viewer, shown: Shown, sinceVersion: bigint, ledger: ModelLedger, own: readonly UsageRecord[]): void {
    const { asked } = shown;
    const now = ledger.versionOf(shardOf(asked.customerId, ledger.shardRows.length));
    const needed = own.map((record) => this.#versionOf.get(identityOf(record)) ?? 0n);
    const least = [...needed, sinceVersion].reduce((a, b) => (a > b ? a : b));
    const between = (this.#changes.get(asked.customerId) ?? []).map(({ version }) => version);
    const candidates = [now, ...between.filter((version) => least <= version && version < now).reverse(), least];
    const found = candidates.find(
      (version) => differenceOf(shown.totals, this.#expected(shown, version)) === undefined,
    );
    if (found === undefined) this.#fits(viewer, shown, now);
    else this.watermark(viewer, shown, this.#lastSame(asked.customerId, found, now));
  }

  /** The last version in which the customer's sums are as in `version`. */
  #lastSame(customerId: string, version: bigint, now: bigint): bigint {
    const next = (this.#changes.get(customerId) ?? []).find((change) => change.version > version);
    return next === undefined || next.version > now ? now : next.version - 1n;
  }

  /** It does not go back, and all that was durable before it is in the sums. */
  watermark(viewer: Viewer, { asked, watermarkMs }: Shown, version: bigint): void {
    const { name, seenWatermarkMs } = viewer;
    const { customerId } = asked;
    if (watermarkMs < seenWatermarkMs)
      this.#oracle.fail("live watermark", `${name} sees a watermark of ${watermarkMs} after ${seenWatermarkMs}`, name);
    viewer.seenWatermarkMs = watermarkMs;
    const missing = (this.#durable.get(customerId) ?? []).find(
      ({ identity, atMs }) => atMs < watermarkMs && (this.#versionOf.get(identity) ?? version + 1n) > version,
    );
    if (missing !== undefined)
      this.#oracle.fail(
        "live watermark",
        `${name} sees a watermark of ${watermarkMs}, but not ${missing.identity} of ${missing.atMs}`,
        name,
        missing.identity,
      );
  }

  #fits({ name }: Viewer, shown: Shown, version: bigint): void {
    const difference = differenceOf(shown.totals, this.#expected(shown, version));
    if (difference !== undefined)
      this.#oracle.fail(
        "live totals",
        `${name} sees of ${shown.asked.customerId}, at version ${version}: ${difference}`,
        name,
      );
  }

  #expected({ asked, interval, grainMs }: Shown, version: bigint): Totals {
    const records = new Map<string, UsageRecord>();
    for (const change of this.#changes.get(asked.customerId) ?? []) {
      if (change.version > version) continue;
      const identity = identityOf(change.record);
      if (change.isVoid) records.delete(identity);
      else records.set(identity, change.record);
    }
    return totalsOf(records.values(), asked, interval, grainMs);
  }

  #listOf<T>(lists: Map<string, T[]>, key: string): T[] {
    const list = lists.get(key) ?? [];
    lists.set(key, list);
    return list;
  }
}

/** A view of the totals of one answer. */
export function shownOf(
  asked: Asked,
  interval: Interval,
  grainMs: number,
  totals: Iterable<GivenTotal>,
  watermarkMs: number,
): Shown {
  return { asked, interval, grainMs, totals: toTotals(totals), watermarkMs };
}
