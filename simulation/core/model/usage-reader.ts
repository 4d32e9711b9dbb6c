// What usage-totals.sql and its neighbours answer, of the ledger as it stands at one instant.
import type {
  AccountReading,
  BillingReading,
  ShardChange,
  ShardCursor,
  Total,
  TotalKey,
  UsageQuery,
  UsageReading,
} from "../../../src/app/ports/ledger.ts";
import { REQUESTS_METER } from "../../../src/domain/meter.ts";
import { planRead, type ReadPart } from "../../../src/domain/read-plan.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import { compareText } from "../../../src/domain/usage-record.ts";
import type { Interval } from "../../../src/domain/window.ts";
import type { ModelLedger, RollupRow } from "./ledger.ts";

export interface UsageReaderOptions {
  /** The database's clock. */
  readonly nowMs: () => number;
  readonly intake: "redis" | "postgres";
  readonly ledger: ModelLedger;
  readonly account: (customerId: string, nowMs: number) => AccountReading;
}

export class ModelUsageReader {
  readonly #options: UsageReaderOptions;

  constructor(options: UsageReaderOptions) {
    this.#options = options;
  }

  usage(query: UsageQuery): UsageReading {
    const { nowMs, intake, ledger } = this.#options;
    const chosen = this.#chosen(query);
    const totals = [...totalsOf(chosen, query).values()].sort(compareKeys);
    const isAsked = ({ meter }: TotalKey) => query.meters.length === 0 || query.meters.includes(meter);
    const asked = totals.filter(isAsked);
    const { after, limit } = query;
    const rest = after === undefined ? asked : asked.filter((total) => compareKeys(total, after) > 0);
    const shard = shardOf(query.customerId, ledger.shardRows.length);
    return {
      totals: rest.slice(0, limit),
      more: rest.length > limit,
      tokensUsed: sumOf(asked.filter(({ meter }) => query.tokenMeters.includes(meter))),
      requests: sumOf(totals.filter(({ meter }) => meter === REQUESTS_METER)),
      watermarkMs: intake === "postgres" ? nowMs() : (ledger.shardRows[shard]?.watermarkMs ?? 0),
      version: ledger.versionOf(shard),
    };
  }

  /** Sums of series in the parts that the query is read from. */
  #chosen({ customerId, windows, apiKeyId, models }: UsageQuery): readonly Chosen[] {
    const { ledger } = this.#options;
    const plan = planRead(windows);
    const rowsIn = (rows: ReadonlyMap<string, RollupRow>, parts: readonly ReadPart[]) =>
      [...rows.values()]
        .filter((row) => row.customerId === customerId)
        .flatMap((row) =>
          parts
            .filter(({ startMs, endMs }) => startMs <= row.windowStartMs && row.windowStartMs < endMs)
            .map(({ window }) => ({ row, window })),
        );
    return [...rowsIn(ledger.quarterHours, plan.quarterHours), ...rowsIn(ledger.days, plan.days)].flatMap(
      ({ row, window }) => {
        const series = ledger.series.get(row.seriesId);
        if (series === undefined) throw new Error(`no series ${row.seriesId}`);
        if (apiKeyId !== undefined && series.apiKeyId !== apiKeyId) return [];
        return models.length > 0 && !models.includes(series.model) ? [] : [{ row, series, window }];
      },
    );
  }

  billing(customerId: string, { startMs, endMs }: Interval): BillingReading {
    const reported = new Map<string, bigint>();
    const unreported = new Map<string, bigint>();
    for (const window of this.#options.ledger.windows.values()) {
      const { eventName, windowStartMs, total, accepted } = window;
      if (window.customerId !== customerId || windowStartMs < startMs || windowStartMs >= endMs) continue;
      reported.set(eventName, (reported.get(eventName) ?? 0n) + accepted);
      unreported.set(eventName, (unreported.get(eventName) ?? 0n) + total - accepted);
    }
    return { reported, unreported };
  }

  account(customerId: string, nowMs: number): AccountReading {
    return this.#options.account(customerId, nowMs);
  }

  cursor(shard: number, epoch: string): ShardCursor {
    const { shardRows, gaps } = this.#options.ledger;
    const row = shardRows[shard];
    if (row === undefined) throw new Error(`shard ${shard} has no row`);
    const epochLost = gaps.some((gap) => gap.shard === shard && gap.oldEpoch === epoch && gap.newEpoch !== epoch);
    return { epoch: row.epoch, cursor: row.cursor, epochLost };
  }

  changes(known: readonly bigint[]): readonly ShardChange[] {
    const { ledger, intake, nowMs } = this.#options;
    return ledger.versions.map((version, shard) => {
      const from = known[shard];
      return {
        version,
        watermarkMs: intake === "postgres" ? nowMs() : (ledger.shardRows[shard]?.watermarkMs ?? 0),
        customers: from === undefined ? undefined : ledger.changedSince(shard, from),
      };
    });
  }
}

interface Chosen {
  readonly row: RollupRow;
  readonly series: { readonly meter: string; readonly apiKeyId: string; readonly model: string } & {
    readonly labels: readonly (readonly [string, string])[];
  };
  readonly window: number;
}

function totalsOf(chosen: readonly Chosen[], query: UsageQuery): ReadonlyMap<string, Total> {
  const totals = new Map<string, Total>();
  for (const { row, series, window } of chosen) {
    const key: TotalKey = {
      windowIndex: window,
      meter: series.meter,
      apiKeyId: query.groupByApiKey ? series.apiKeyId : "",
      model: query.groupByModel ? series.model : "",
      labelValues: query.groupByLabels.map((name) => series.labels.find(([label]) => label === name)?.[1] ?? ""),
    };
    const name = JSON.stringify(key);
    const { quantity, recordCount } = totals.get(name) ?? { quantity: 0n, recordCount: 0n };
    totals.set(name, { ...key, quantity: quantity + row.quantity, recordCount: recordCount + row.recordCount });
  }
  return totals;
}

function compareKeys(a: TotalKey, b: TotalKey): number {
  return (
    a.windowIndex - b.windowIndex ||
    compareText(a.meter, b.meter) ||
    compareText(a.apiKeyId, b.apiKeyId) ||
    compareText(a.model, b.model) ||
    compareText(JSON.stringify(a.labelValues), JSON.stringify(b.labelValues))
  );
}

function sumOf(totals: readonly Total[]): bigint {
  return totals.reduce((sum, { quantity }) => sum + quantity, 0n);
}
