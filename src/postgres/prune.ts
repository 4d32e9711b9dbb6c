// What is dropped of the way to Stripe: windows and reports that nothing will ever ask for again, and what was found about them.
import { DAY_MS } from "../domain/window.ts";
import { lockOutLeader } from "./lease.ts";
import { listDays } from "./partitions.ts";
import { inTransaction, type Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const CUSTOMERS = sqlFile("prune-customers");
const WINDOWS = sqlFile("prune-windows");
const DRIFTS = sqlFile("prune-drifts");
const METER_ERRORS = sqlFile("prune-meter-errors");

const CUSTOMERS_PER_STEP = 1_000;
/** Each step holds up the leader for as long as it takes. */
const ROWS_PER_STEP = 500;

export interface Pruned {
  readonly windows: number;
  readonly reports: number;
  readonly drifts: number;
  readonly meterErrors: number;
}

interface WindowsStep {
  readonly looked: number;
  readonly windows: number;
  readonly reports: number;
  readonly window_start: Date | null;
  readonly event_name: string | null;
  readonly payload: string | null;
}

/** The end of what is old: a midnight, UTC. */
export function prunedBefore(nowMs: number, retentionMs: number): number {
  return Math.floor((nowMs - retentionMs) / DAY_MS) * DAY_MS;
}

/**
 * Deletes what is older than `beforeMs`, which must lie further back than the longest billing period and the 35 days that Stripe takes events
 * for. Each step is one short transaction, so a crash, or the signal, leaves the rest to the next time; several processes at it do no harm.
 * Costs a few look-ups a customer, and holds up the leader for a step at a time.
 *
 * A `pending_window` goes only together with all its `report`s, in one transaction, so the outbox and the windows always say the same of each
 * other, which is what `metering verify` compares. And only where nothing can plan, send, compare or bill any of it again:
 * - raw records of its day are gone: a void finds none and says so, a rebuild or recut leaves such a day as it is, verify cannot sum it;
 * - all that it holds was reported, and every report has come to its end: accepted and found in Stripe's summaries, or replaced. What is held
 *   waits for a person, however long, with its window;
 * - event and end of each report are older than `beforeMs`, not just the window: usage is reported late, or carried into a later period;
 * - of the same customer's meter nothing older is under way, held, not compared yet, asked to be compared, or an open drift: what Stripe
 *   counted there is compared with the sum of all reports;
 * - the billing period that it counts in is over, and where an invoice bills it, that was compared and closed: an invoice is compared with
 *   the sum of a whole period, and is not compared again unless a report of the period changes, which none of these does any more.
 *
 * Exactly once does not hang on what is gone. Only a record that is applied could begin the window anew: one of an event time that was
 * acceptable when it was sent, and which then waited in Redis for longer than the retention less 35 days. It is counted as what it is, and
 * reported under sequence 0 again: an identifier whose last send is further back than Stripe remembers one (a day; an idempotency key, 30
 * days), and which no row of ours has any more. A database that is set back becomes another deployment, with other identifiers.
 *
 * A `drift` that came to its end says what was done; the bookings that it names are reports like any other, and stay until their window goes.
 * A `meter_error` is looked at within a day of another one's validation, and by people.
 *
 * Not here: `stripe_event` and `flush_request` are forgotten by their own writers, after 35 days and a day; `shard_change` is a ring.
 * `series`, the rollups and `usage_void` are what GetUsage answers from, and what explains it: they are kept.
 */
export async function prune(pool: Pool, leaseName: string, beforeMs: number, signal: AbortSignal): Promise<Pruned> {
  const before = new Date(beforeMs);
  // First, so that the reports that they name can go.
  const drifts = await inSteps(pool, DRIFTS, before, signal);
  const meterErrors = await inSteps(pool, METER_ERRORS, before, signal);
  let [windows, reports, after] = [0, 0, ""];
  while (!signal.aborted) {
    const page = await pool.query<{ id: string; old: boolean }>(CUSTOMERS, [after, CUSTOMERS_PER_STEP, before]);
    for (const { id } of page.rows.filter(({ old }) => old)) {
      const gone = await pruneCustomer(pool, leaseName, id, before, signal);
      windows += gone.windows;
      reports += gone.reports;
    }
    const last = page.rows.at(-1);
    if (last === undefined || page.rows.length < CUSTOMERS_PER_STEP) break;
    after = last.id;
  }
  return { windows, reports, drifts, meterErrors };
}

async function pruneCustomer(
  pool: Pool,
  leaseName: string,
  customerId: string,
  before: Date,
  signal: AbortSignal,
): Promise<{ windows: number; reports: number }> {
  let [windows, reports] = [0, 0];
  let after: unknown[] = ["-infinity", "", ""];
  while (!signal.aborted) {
    const step: WindowsStep | undefined = await inTransaction(pool, async (client) => {
      await lockOutLeader(client, leaseName);
      const values = [customerId, before, ...after, ROWS_PER_STEP, await listDays(client)];
      return (await client.query<WindowsStep>(WINDOWS, values)).rows[0];
    });
    if (step === undefined) throw new Error("prune-windows returned no row");
    windows += step.windows;
    reports += step.reports;
    if (step.looked < ROWS_PER_STEP) break;
    after = [step.window_start, step.event_name, step.payload];
  }
  return { windows, reports };
}

async function inSteps(pool: Pool, statement: string, before: Date, signal: AbortSignal): Promise<number> {
  let rows = 0;
  while (!signal.aborted) {
    const deleted = (await pool.query(statement, [before, ROWS_PER_STEP])).rowCount ?? 0;
    rows += deleted;
    if (deleted < ROWS_PER_STEP) break;
  }
  return rows;
}
