// Reads for GetUsage and StreamUsage. Each reading is one statement, so one snapshot.
import type {
  BillingReading,
  ShardChange,
  ShardCursor,
  Total,
  UsageQuery,
  UsageReader,
  UsageReading,
} from "../app/ports/ledger.ts";
import { REQUESTS_METER } from "../domain/meter.ts";
import { planRead } from "../domain/read-plan.ts";
import { shardOf } from "../domain/shard.ts";
import type { Interval } from "../domain/window.ts";
import { readAccount } from "./accounts.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";
import { reading } from "./unavailable.ts";

const TOTALS = { name: "usage-totals", text: sqlFile("usage-totals") };
const BILLING = { name: "usage-billing", text: sqlFile("usage-billing") };
const CURSOR = { name: "usage-cursor", text: sqlFile("usage-cursor") };
const CHANGES = { name: "usage-changes", text: sqlFile("usage-changes") };

interface TotalsRow {
  readonly totals: readonly [number, string, string, string, string[], string, string][];
  readonly tokens_used: string;
  readonly requests: string;
  readonly watermark: Date;
  readonly version: string;
}

interface ChangeRow {
  readonly version: string;
  readonly watermark: Date;
  readonly customers: string[] | null;
}

/** `graceMs`: how long after a failed payment a customer stays entitled. Reads fail with ledger_unavailable while Postgres is away. */
export function postgresUsageReader(pool: Pool, shardCount: number, graceMs: number): UsageReader {
  return {
    usage: (query) => reading(() => readUsage(pool, shardCount, query)),
    billing: (customerId, interval) => reading(() => readBilling(pool, customerId, interval)),
    account: (customerId, nowMs) => reading(() => readAccount(pool, customerId, nowMs, graceMs)),
    cursor: (shard, epoch) => reading(() => readCursor(pool, shard, epoch)),
    changes: (known) => reading(() => readChanges(pool, known)),
  };
}

async function readUsage(pool: Pool, shardCount: number, query: UsageQuery): Promise<UsageReading> {
  const result = await pool.query<TotalsRow>({ ...TOTALS, values: totalsParameters(query, shardCount) });
  const row = result.rows[0];
  if (row === undefined) throw new Error("usage-totals returned no row");
  return {
    totals: row.totals.slice(0, query.limit).map(toTotal),
    more: row.totals.length > query.limit,
    tokensUsed: BigInt(row.tokens_used),
    requests: BigInt(row.requests),
    watermarkMs: row.watermark.getTime(),
    version: BigInt(row.version),
  };
}

async function readBilling(pool: Pool, customerId: string, interval: Interval): Promise<BillingReading> {
  const values = [customerId, new Date(interval.startMs), new Date(interval.endMs)];
  const result = await pool.query<{ event_name: string; reported: string; unreported: string }>({ ...BILLING, values });
  return {
    reported: new Map(result.rows.map((r) => [r.event_name, BigInt(r.reported)])),
    unreported: new Map(result.rows.map((r) => [r.event_name, BigInt(r.unreported)])),
  };
}

async function readCursor(pool: Pool, shard: number, epoch: string): Promise<ShardCursor> {
  const result = await pool.query<ShardCursor>({ ...CURSOR, values: [shard, epoch] });
  const row = result.rows[0];
  if (row === undefined) throw new Error(`shard ${shard} has no row`);
  return row;
}

async function readChanges(pool: Pool, known: readonly bigint[]): Promise<readonly ShardChange[]> {
  const values = [known.map(String)];
  const result = await pool.query<ChangeRow>({ ...CHANGES, values });
  return result.rows.map(({ version, watermark, customers }) => {
    return { version: BigInt(version), watermarkMs: watermark.getTime(), customers: customers ?? undefined };
  });
}

function totalsParameters(query: UsageQuery, shardCount: number): unknown[] {
  const plan = planRead(query.windows);
  return [
    query.customerId,
    JSON.stringify(plan.quarterHours),
    JSON.stringify(plan.days),
    query.apiKeyId ?? null,
    query.models.length > 0 ? query.models : null,
    query.meters.length > 0 ? query.meters : null,
    query.groupByApiKey,
    query.groupByModel,
    query.groupByLabels,
    query.tokenMeters,
    REQUESTS_METER,
    query.after === undefined ? null : JSON.stringify(query.after),
    query.limit + 1,
    shardOf(query.customerId, shardCount),
  ];
}

function toTotal([
  windowIndex,
  meter,
  apiKeyId,
  model,
  labelValues,
  quantity,
  recordCount,
]: TotalsRow["totals"][number]): Total {
  return {
    windowIndex,
    meter,
    apiKeyId,
    model,
    labelValues,
    quantity: BigInt(quantity),
    recordCount: BigInt(recordCount),
  };
}
