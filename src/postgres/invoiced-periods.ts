// Invoiced periods: comparing what was billed with what was reported, in one transaction behind the lease's fence.
import type { ClosingStep, InvoicedPeriods } from "../app/ports/invoiced-periods.ts";
import type { InvoicedPeriod, PeriodClosing } from "../domain/invoiced-period.ts";
import { FINALIZATION_MARGIN_MS } from "../domain/late-usage.ts";
import { HELD_OUTCOME_UNKNOWN } from "../domain/report.ts";
import { toJson } from "./json.ts";
import { inFencedTransaction } from "./lease.ts";
import type { Pool, PoolClient } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const CLOSABLE = sqlFile("period-closable");
const LOCK_WINDOWS = sqlFile("window-lock");
const LOCK_PERIODS = sqlFile("period-lock");
const COUNTED = sqlFile("period-counted");
const INSERT = sqlFile("report-insert");
const CLOSE = sqlFile("period-close");

type Decide = (period: InvoicedPeriod, nowMs: number) => PeriodClosing;

/** Invoiced periods behind the lease named `leaseName`. */
export function postgresInvoicedPeriods(pool: Pool, leaseName: string): InvoicedPeriods {
  return {
    close(grant, limit, decide) {
      return inFencedTransaction(pool, leaseName, grant, (client) => close(client, grant.epoch, limit, decide));
    },
  };
}

/**
 * Nothing is visible before the commit, so a crash at any number leaves the periods to be closed again.
 *
 * 1. find periods that can be closed;
 * 2. lock their windows, then the periods: the order in which settling takes both. Settling takes periods in any order, so that those
 *    which it holds are not waited for, but left to the next pass: nobody waits in a circle;
 * 3. read again what was counted, now that nobody can change it;
 * 4. write bookings and what is carried on, and note that the periods were compared.
 */
async function close(client: PoolClient, epoch: bigint, limit: number, decide: Decide): Promise<ClosingStep> {
  const found = (await client.query<ClosableRow>(CLOSABLE, [limit, HELD_OUTCOME_UNKNOWN])).rows; // 1
  if (found.length === 0) return { closed: 0, carried: 0n, exceeded: 0 };
  const anchors = found.filter((row) => row.customer_id !== null);
  const windows = (await client.query<WindowRow>(LOCK_WINDOWS, [JSON.stringify(anchors)])).rows; // 2
  const locked = (await client.query<PeriodKey>(LOCK_PERIODS, [JSON.stringify(found)])).rows;
  const counted = (await client.query<CountedRow>(COUNTED, [JSON.stringify(locked), FINALIZATION_MARGIN_MS])).rows; // 3
  const nextSequences = new Map(windows.map((row) => [windowKey(row), row.next_sequence]));
  const byPeriod = new Map(found.map((row) => [periodKey(row), row]));
  const closings = counted.flatMap((row) => {
    const anchor = byPeriod.get(periodKey(row));
    if (row.counted === null || anchor === undefined) return [];
    const closing = decide(toPeriod(row, anchor, nextSequences), row.now.getTime());
    // Two periods may end with one window: each takes its sequences in turn.
    const key = windowKey(anchor);
    nextSequences.set(key, (nextSequences.get(key) ?? 0) + closing.reports.length);
    return [{ row, closing }];
  });
  const reports = closings.flatMap(({ closing }) => closing.reports);
  if (reports.length > 0) await client.query(INSERT, [epoch, toJson(reports)]); // 4
  await client.query(CLOSE, [
    toJson(
      closings.map(({ row: { invoice_id, event_name, period_start }, closing: { excess } }) => {
        return { invoice_id, event_name, period_start, excess };
      }),
    ),
  ]);
  return summed(closings.map(({ closing }) => closing));
}

function summed(closings: readonly PeriodClosing[]): ClosingStep {
  const carries = closings.flatMap(({ reports }) => reports.filter(({ kind }) => kind === "carry"));
  return {
    closed: closings.length,
    carried: carries.reduce((sum, { value }) => sum + (value < 0n ? -value : value), 0n),
    exceeded: closings.filter(({ excess }) => excess > 0n).length,
  };
}

interface PeriodKey {
  readonly invoice_id: string;
  readonly event_name: string;
  readonly period_start: Date;
}

interface ClosableRow extends PeriodKey {
  /** Null, as the two below, where nothing was ever reported in the period. */
  readonly customer_id: string | null;
  readonly window_start: Date | null;
  readonly payload: string | null;
}

interface WindowRow {
  readonly customer_id: string;
  readonly window_start: Date;
  readonly event_name: string;
  readonly payload: string;
  readonly next_sequence: number;
}

interface CountedRow extends PeriodKey {
  readonly period_end: Date;
  readonly stripe_customer_id: string;
  readonly billed: string;
  /** Null where a report is on its way again. */
  readonly counted: string | null;
  readonly taken_back_late: string;
  readonly period_open: boolean;
  readonly now: Date;
}

function toPeriod(row: CountedRow, anchor: ClosableRow, nextSequences: ReadonlyMap<string, number>): InvoicedPeriod {
  return {
    stripeCustomerId: row.stripe_customer_id,
    eventName: row.event_name,
    startMs: row.period_start.getTime(),
    endMs: row.period_end.getTime(),
    billed: BigInt(row.billed),
    counted: BigInt(row.counted ?? 0),
    takenBackLate: BigInt(row.taken_back_late),
    window: {
      customerId: anchor.customer_id ?? row.stripe_customer_id,
      eventName: row.event_name,
      payload: anchor.payload ?? "{}",
      windowStartMs: (anchor.window_start ?? row.period_start).getTime(),
      nextSequence: nextSequences.get(windowKey(anchor)) ?? 0,
    },
    periodOpen: row.period_open,
  };
}

function periodKey(row: PeriodKey): string {
  return JSON.stringify([row.invoice_id, row.event_name, row.period_start]);
}

function windowKey(row: {
  customer_id: string | null;
  window_start: Date | null;
  event_name: string;
  payload: string | null;
}): string {
  return JSON.stringify([row.customer_id, row.window_start, row.event_name, row.payload]);
}
