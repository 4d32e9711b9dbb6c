// Rebuild: a day's rollups and totals are made anew of its raw records.
import type { DayRebuild } from "../app/ports/audit.ts";
import { type AuditedWindow, type Difference, daysOf, type ExpectedDay } from "../domain/audit.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { shardOf } from "../domain/shard.ts";
import { compareText } from "../domain/usage-record.ts";
import { DAY_MS, MINUTE_MS, windowAt } from "../domain/window.ts";
import { type AuditedDay, auditDay, compareDay, keepPartitions, nameSeries } from "./audit-day.ts";
import type { AppliedCatalogs } from "./catalogs.ts";
import { toJson } from "./json.ts";
import { lockOutLeader } from "./lease.ts";
import { inTransaction, type Pool, type Queryable } from "./pool.ts";
import { pendingKey } from "./raw-sums.ts";
import { sqlFile } from "./sql-file.ts";

const LOCK_SHARDS = sqlFile("ledger-lock-shards");
const LOCK_PENDING = sqlFile("recut-lock-pending");
const CLEAR_QUARTER_HOURS = sqlFile("recut-clear-quarter-hours");
const CLEAR_DAYS = sqlFile("recut-clear-days");
const WRITE_QUARTER_HOURS = sqlFile("recut-write-quarter-hours");
const WRITE_DAYS = sqlFile("rebuild-days");
const WRITE_SERIES = sqlFile("rebuild-series");
const WRITE_PENDING = sqlFile("rebuild-pending");
const CLEAR_PENDING = sqlFile("rebuild-clear-pending");

export interface RebuildContext {
  /** Today's: by it, records from before catalogs were kept are summed. */
  readonly catalog: MeterCatalog;
  readonly shardCount: number;
  /** Behind which reports are sent. */
  readonly leaseName: string;
}

/**
 * Nothing is visible before the commit, so a crash at any number leaves the day as it was; one after it leaves it rebuilt, and a repeat finds
 * nothing to do.
 *
 * 1. lock the shard, as every apply, void and recut does first: raw records, sums and boundaries of the customer stay as they are. Streams
 *    see its version grow, and look. Then keep the day's partition from being dropped;
 * 2. sum the raw records and compare. Where they are not kept there is nothing to rebuild from, and the day stays as it is;
 * 3. write rollups, and the series that they are under, where any differs;
 * 4. keep the leader out, lock the windows in the order of their key, and write totals. What was reported and accepted is what was sent, and
 *    is never touched: the next flush sends the difference, negative where too much was reported;
 * 5. compare again, so that what is said to be rebuilt is; and commit.
 */
export async function rebuildDay(
  pool: Pool,
  context: RebuildContext,
  catalogs: AppliedCatalogs,
  customerId: string,
  dayMs: number,
): Promise<DayRebuild> {
  return inTransaction(pool, async (client) => {
    const locked = await client.query(LOCK_SHARDS, [[shardOf(customerId, context.shardCount)]]); // 1
    if (locked.rowCount !== 1) throw new Error(`the shard of customer ${customerId} has no row`);
    await keepPartitions(client);
    const before = await auditDay(client, catalogs, customerId, dayMs); // 2
    const { expected, boundaries, differences } = before;
    if (expected === undefined) return { verified: false, rebuilt: [], left: differences };
    if (differences.length === 0) return { verified: true, rebuilt: [], left: [] };
    if (differences.some(({ table }) => table !== "pending_window")) {
      await writeRollups(client, customerId, dayMs, expected, boundaries); // 3
    }
    await writeTotals(client, context, customerId, dayMs, before, expected); // 4
    const after = await compareDay(client, customerId, dayMs, boundaries, expected); // 5
    const isLeft = (one: Difference) => after.differences.some((other) => sameRow(one, other));
    const rebuilt = differences.filter((one) => !isLeft(one));
    return { verified: true, rebuilt: await nameSeries(client, customerId, rebuilt), left: after.differences };
  });
}

async function writeRollups(
  client: Queryable,
  customerId: string,
  dayMs: number,
  { series, quarterHours }: ExpectedDay,
  boundaries: readonly number[],
): Promise<void> {
  const interval = [customerId, new Date(dayMs), new Date(dayMs + DAY_MS)];
  const rows = series.map((line) => ({ ...line, labels: Object.fromEntries(line.labels) }));
  await client.query(WRITE_SERIES, [customerId, toJson(rows)]);
  await client.query(CLEAR_QUARTER_HOURS, interval);
  await client.query(WRITE_QUARTER_HOURS, ["[]", toJson(quarterHours.map((line) => ({ ...line, customerId })))]);
  await client.query(CLEAR_DAYS, interval);
  await client.query(WRITE_DAYS, [customerId, toJson(daysOf(quarterHours, boundaries))]);
}

async function writeTotals(
  client: Queryable,
  { leaseName }: RebuildContext,
  customerId: string,
  dayMs: number,
  { windows, boundaries }: AuditedDay,
  expected: ExpectedDay,
): Promise<void> {
  const wanted = wantedWindows(windows, expected, boundaries);
  if (wanted.length === 0) return;
  await lockOutLeader(client, leaseName);
  await client.query(LOCK_PENDING, [customerId, wanted.map(({ windowStartMs }) => new Date(windowStartMs))]);
  await client.query(WRITE_PENDING, [customerId, toJson(wanted)]);
  await client.query(CLEAR_PENDING, [customerId, new Date(dayMs), new Date(dayMs + DAY_MS)]);
}

interface WantedWindow {
  readonly windowStartMs: number;
  readonly windowEndMs: number;
  readonly eventName: string;
  readonly payload: string;
  readonly total: bigint;
}

/** Windows that must be written, in the order of their key. */
function wantedWindows(
  windows: readonly AuditedWindow[],
  { pending, uncertainMinutes }: ExpectedDay,
  boundaries: readonly number[],
): WantedWindow[] {
  const keyOf = (window: Pick<AuditedWindow, "windowStartMs" | "eventName" | "payload">) =>
    pendingKey(window.windowStartMs, window.eventName, window.payload);
  const found = new Map(windows.map((window) => [keyOf(window), window]));
  const totals = new Map(pending.map((window) => [keyOf(window), window.total]));
  const all = new Map([...windows, ...pending].map((window) => [keyOf(window), window]));
  return [...all]
    .flatMap(([key, { windowStartMs, eventName, payload }]): WantedWindow[] => {
      const { row, outbox } = found.get(key) ?? { row: undefined, outbox: undefined };
      const minute = windowAt(windowStartMs, MINUTE_MS, boundaries);
      const isUncertain = uncertainMinutes.has(minute.startMs);
      // By which rules an uncertain total came about is not known: it stays. One that is lost comes back as what was reported.
      const total = isUncertain ? (row?.total ?? outbox?.reported ?? 0n) : (totals.get(key) ?? 0n);
      const windowEndMs = minute.startMs === windowStartMs || row === undefined ? minute.endMs : row.windowEndMs;
      const isRight =
        row === undefined
          ? outbox === undefined && total === 0n
          : row.total === total && row.windowEndMs === windowEndMs;
      return isRight ? [] : [{ windowStartMs, windowEndMs, eventName, payload, total }];
    })
    .sort(
      (a, b) =>
        a.windowStartMs - b.windowStartMs || compareText(a.eventName, b.eventName) || compareText(a.payload, b.payload),
    );
}

function sameRow(a: Difference, b: Difference): boolean {
  return a.table === b.table && a.column === b.column && a.windowStartMs === b.windowStartMs && a.of === b.of;
}
