// Recut: a billing-period boundary becomes known after usage around it was summed. The sums that span it are cut there, so that from
// then on no window does, just as if the boundary had always been known.
import type { Logger } from "../app/ports/logger.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { divideTotal, type SplitWindow, splitWindows } from "../domain/recut.ts";
import { shardOf } from "../domain/shard.ts";
import { DAY_MS, type Interval, MINUTE_MS, QUARTER_HOUR_MS } from "../domain/window.ts";
import { AppliedCatalogs } from "./catalogs.ts";
import { toJson } from "./json.ts";
import type { Queryable } from "./pool.ts";
import { NO_SUMS, pendingKey, type RawSums, sumRawRecords } from "./raw-sums.ts";
import { sqlFile } from "./sql-file.ts";

const BOUNDARIES = sqlFile("ledger-boundaries");
const LOCK_SHARDS = sqlFile("ledger-lock-shards");
const QUARTER_HOUR_TOTALS = sqlFile("recut-quarter-hour-totals");
const CLEAR_QUARTER_HOURS = sqlFile("recut-clear-quarter-hours");
const WRITE_QUARTER_HOURS = sqlFile("recut-write-quarter-hours");
const DAY_TOTALS = sqlFile("recut-day-totals");
const CLEAR_DAYS = sqlFile("recut-clear-days");
const WRITE_DAYS = sqlFile("recut-write-days");
const LOCK_PENDING = sqlFile("recut-lock-pending");
const WRITE_PENDING = sqlFile("recut-write-pending");
const ADD_BOUNDARIES = sqlFile("recut-add-boundaries");

export interface RecutContext {
  /** Today's: for records that were applied before catalogs were kept. */
  readonly catalog: MeterCatalog;
  readonly shardCount: number;
  readonly logger: Logger;
}

/** Sums over all series of an interval: equal where the same records were counted, however they were split. */
interface Totals {
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/**
 * Makes `boundariesMs` (whole seconds) boundaries of the customer and recuts what spans those that are new. Idempotent; any order of
 * calls ends the same. Totals over a window and its pieces never change. Must run in a transaction, as its last work: it holds the
 * customer's shard, and no record of that shard is applied meanwhile. Costs one round trip where nothing is new, else about a second
 * per 100,000 records of the quarter-hours concerned. Nothing is visible before the commit, so a crash at any number leaves the ledger as it was.
 *
 * 1. without a lock: is any boundary new? Mostly none is, since a period's end is known a period ahead;
 * 2. lock the shard, as every apply does first: whoever applied before is done, whoever applies after will read the new boundaries.
 *    Read the boundaries again: another worker may have added them meanwhile;
 * 3. quarter-hours that span a new boundary are summed anew from raw records, and pending minutes within them split;
 * 4. days that span one are summed anew from quarter-hours, none of which spans a boundary any more;
 * 5. add the boundaries.
 */
async function cutAtBoundaries(
  client: Queryable,
  context: RecutContext,
  customerId: string,
  boundariesMs: readonly number[],
): Promise<void> {
  if (boundariesMs.some((ms) => ms % 1000 !== 0)) throw new Error("a period boundary is not on a whole second");
  const unknown = missing(boundariesMs, await readBoundaries(client, customerId)); // 1
  if (unknown.length === 0) return;
  const locked = await client.query(LOCK_SHARDS, [[shardOf(customerId, context.shardCount)]]); // 2
  if (locked.rowCount !== 1) throw new Error(`the shard of customer ${customerId} has no row`);
  const known = await readBoundaries(client, customerId);
  const added = missing(boundariesMs, known);
  if (added.length === 0) return;
  const catalogs = new AppliedCatalogs(context.catalog);
  const minutes = splitWindows(added, MINUTE_MS, known);
  const boundaries = [...known, ...added].sort((a, b) => a - b);
  for (const quarterHour of splitWindows(added, QUARTER_HOUR_MS, known)) {
    const sumRecords = () => sumRawRecords(client, catalogs, customerId, quarterHour, boundaries);
    await recutQuarterHour(client, context, customerId, quarterHour, within(minutes, quarterHour), sumRecords); // 3
  }
  for (const day of splitWindows(added, DAY_MS, known)) await recutDay(client, context, customerId, day); // 4
  await client.query(ADD_BOUNDARIES, [customerId, added.map((ms) => new Date(ms))]); // 5
}

/**
 * As cutAtBoundaries, for several customers in one transaction: their shards are locked together before anything else is, in order.
 * One after the other, the second shard would be waited for with windows of the first in hand, and who holds it may wait for those.
 */
export async function cutAllAtBoundaries(
  client: Queryable,
  context: RecutContext,
  cuts: readonly { readonly customerId: string; readonly boundariesMs: readonly number[] }[],
): Promise<void> {
  const behind: (typeof cuts)[number][] = [];
  for (const cut of cuts)
    if (missing(cut.boundariesMs, await readBoundaries(client, cut.customerId)).length > 0) behind.push(cut);
  const shards = new Set(behind.map(({ customerId }) => shardOf(customerId, context.shardCount)));
  if (shards.size > 1) await client.query(LOCK_SHARDS, [[...shards]]);
  for (const { customerId, boundariesMs } of behind) await cutAtBoundaries(client, context, customerId, boundariesMs);
}

async function recutQuarterHour(
  client: Queryable,
  context: RecutContext,
  customerId: string,
  window: SplitWindow,
  minutes: readonly SplitWindow[],
  sumRecords: () => Promise<RawSums>,
): Promise<void> {
  const before = await readTotals(client, QUARTER_HOUR_TOTALS, customerId, window);
  // Without records, windows of voided ones may wait all the same, for the difference to be sent.
  const sums = before.recordCount === 0n ? NO_SUMS : await sumRecords();
  if (minutes.length > 0) await splitPending(client, customerId, minutes, sums);
  if (sums.quantity !== before.quantity || sums.recordCount !== before.recordCount) {
    // Raw records are dropped by whole days: without them the quarter-hour stays whole, and counts where it starts.
    context.logger.warn({ customerId, window }, "quarter-hour not cut at a period boundary: its raw records are gone");
    return;
  }
  if (sums.recordCount === 0n) return;
  await client.query(CLEAR_QUARTER_HOURS, [customerId, new Date(window.startMs), new Date(window.endMs)]);
  await client.query(WRITE_QUARTER_HOURS, [toJson(sums.series), toJson(sums.quarterHours)]);
}

/**
 * Splits what waits for Stripe. The first piece keeps what was reported under the window: its total is now smaller, and where it was
 * reported already, the next flush sends the difference, negative, and the other pieces' totals in their own period.
 *
 * Each record adds to its piece just what it added to the window, by the catalog under which it was applied, whatever the billing rules are
 * today. What a total holds beyond that came from records of before catalogs were kept; by which rules is not known, so today's only say in
 * which proportion it splits. The total itself always stays: nothing is billed anew, and no event name is added.
 */
async function splitPending(
  client: Queryable,
  customerId: string,
  minutes: readonly SplitWindow[],
  sums: RawSums,
): Promise<void> {
  const locked = await client.query<{ window_start: Date; event_name: string; payload: string; total: string }>(
    LOCK_PENDING,
    [customerId, minutes.map((m) => new Date(m.startMs))],
  );
  const byStart = new Map(minutes.map((m) => [m.startMs, m.pieces]));
  const rows = locked.rows.flatMap(({ window_start, event_name: eventName, payload, total }) => {
    const pieces = byStart.get(window_start.getTime()) ?? [];
    const keys = pieces.map((p) => pendingKey(p.startMs, eventName, payload));
    const known = keys.map((key) => sums.pending.get(key) ?? 0n);
    const shares = keys.map((key) => sums.pendingByToday.get(key) ?? 0n);
    const rest = divideTotal(
      known.reduce((left, quantity) => left - quantity, BigInt(total)),
      shares,
    );
    return pieces.map(({ startMs, endMs }, i) => {
      return {
        customerId,
        windowStartMs: startMs,
        windowEndMs: endMs,
        eventName,
        payload,
        total: (known[i] ?? 0n) + (rest[i] ?? 0n),
        first: i === 0,
      };
    });
  });
  await client.query(WRITE_PENDING, [toJson(rows.filter((row) => row.first || row.total !== 0n))]);
}

async function recutDay(
  client: Queryable,
  context: RecutContext,
  customerId: string,
  window: SplitWindow,
): Promise<void> {
  const before = await readTotals(client, DAY_TOTALS, customerId, window);
  if (before.recordCount === 0n) return;
  const fine = await readTotals(client, QUARTER_HOUR_TOTALS, customerId, window);
  if (fine.quantity !== before.quantity || fine.recordCount !== before.recordCount) {
    context.logger.warn({ customerId, window }, "day not cut at a period boundary: its quarter-hours are gone");
    return;
  }
  await client.query(CLEAR_DAYS, [customerId, new Date(window.startMs), new Date(window.endMs)]);
  const starts = window.pieces.map((p) => new Date(p.startMs));
  await client.query(WRITE_DAYS, [customerId, starts, new Date(window.endMs)]);
}

async function readBoundaries(client: Queryable, customerId: string): Promise<readonly number[]> {
  const result = await client.query<{ boundary: Date }>(BOUNDARIES, [[customerId]]);
  return result.rows.map((row) => row.boundary.getTime());
}

async function readTotals(client: Queryable, sql: string, customerId: string, interval: Interval): Promise<Totals> {
  const values = [customerId, new Date(interval.startMs), new Date(interval.endMs)];
  const result = await client.query<{ quantity: string; record_count: string }>(sql, values);
  const row = result.rows[0];
  return { quantity: BigInt(row?.quantity ?? 0), recordCount: BigInt(row?.record_count ?? 0) };
}

/** Ascending, distinct. */
function missing(boundariesMs: readonly number[], known: readonly number[]): number[] {
  return [...new Set(boundariesMs)].filter((ms) => !known.includes(ms)).sort((a, b) => a - b);
}

function within(windows: readonly SplitWindow[], { startMs, endMs }: Interval): SplitWindow[] {
  return windows.filter((w) => startMs <= w.startMs && w.startMs < endMs);
}
