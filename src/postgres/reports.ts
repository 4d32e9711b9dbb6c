// The outbox. Each write is one transaction behind the lease's fence, and works on a whole batch.
import type { ClaimStep, Deadline, PlanCursor, Reports, SettledReport, SinkName } from "../app/ports/reports.ts";
import { FINALIZATION_MARGIN_MS } from "../domain/late-usage.ts";
import {
  HELD_OUTCOME_UNKNOWN,
  maySend,
  type PendingWindow,
  RESEND_HORIZON_MS,
  type Report,
  type ReportKind,
} from "../domain/report.ts";
import type { ReportedElsewhere } from "../domain/taking-back.ts";
import { toJson } from "./json.ts";
import { inFencedTransaction } from "./lease.ts";
import type { Pool, PoolClient } from "./pool.ts";
import { findClosed, replaceReports } from "./report-retries.ts";
import { sqlFile } from "./sql-file.ts";

const PLANNABLE = sqlFile("report-plannable");
const INSERT = sqlFile("report-insert");
const DUE = sqlFile("report-due");
const MARK_SENDING = sqlFile("report-mark-sending");
const HOLD = sqlFile("report-hold");
const SETTLE = sqlFile("report-settle");
const BACKLOG = sqlFile("report-backlog");
const DEADLINES = sqlFile("report-deadlines");

/**
 * Makes the planner take due reports from the index in their order, and look up for each who of its customer waits. Its statistics lag
 * behind a backlog that has just grown, and then it would rather sort all of it for every batch, and compare each of a batch with all that
 * wait.
 */
const DUE_IN_INDEX_ORDER = "SET LOCAL enable_sort = off; SET LOCAL enable_material = off";

/** Reports behind the lease named `leaseName`, for `sink`. Rejects when Postgres is away; whether a write was done is then unknown, and harmless. */
export function postgresReports(pool: Pool, leaseName: string, sink: SinkName): Reports {
  return {
    plan(grant, scope, after, limit, decide) {
      return inFencedTransaction(pool, leaseName, grant, async (client) => {
        const found = await client.query<WindowRow>(PLANNABLE, [
          scope.customerId ?? null,
          scope.includeOpen,
          ...(after
            ? [
                new Date(after.windowEndMs),
                after.customerId,
                new Date(after.windowStartMs),
                after.eventName,
                after.payload,
              ]
            : [null, null, null, null, null]),
          limit,
          FINALIZATION_MARGIN_MS,
        ]);
        const windows = found.rows.map(toPendingWindow);
        const nowMs = found.rows[0]?.now.getTime() ?? 0;
        const reports = decide(windows, nowMs);
        if (reports.length > 0) await client.query(INSERT, [grant.epoch, toJson(reports)]);
        return { planned: reports.length, next: windows.length < limit ? undefined : cursorAt(windows) };
      });
    },
    replaceClosed(grant, limit, context) {
      return inFencedTransaction(pool, leaseName, grant, async (client) =>
        replaceReports(client, grant.epoch, await findClosed(client, limit), context),
      );
    },
    claim(grant, limit) {
      return inFencedTransaction(pool, leaseName, grant, (client) => claim(client, grant.epoch, sink, limit));
    },
    async settle(grant, settled) {
      if (settled.length === 0) return;
      const rows = toJson(settled.map(toSettlementRow));
      await inFencedTransaction(pool, leaseName, grant, (client) => client.query(SETTLE, [grant.epoch, rows]));
    },
    deadlines: () => readDeadlines(pool),
    async backlog() {
      const result = await pool.query<BacklogRow>(BACKLOG, [sink]);
      const row = result.rows[0];
      if (row === undefined) throw new Error("the backlog query returned no row");
      return {
        openReports: Number(row.open_reports),
        otherSinkReports: Number(row.other_sink_reports),
        heldReports: Number(row.held_reports),
        unmappedWindows: Number(row.unmapped_windows),
        lagMs: Number(row.lag_ms),
      };
    },
  };
}

/** What is due by when, one of each kind; on the database's clock. */
export async function readDeadlines(pool: Pool): Promise<readonly Deadline[]> {
  const result = await pool.query<DeadlineRow>(DEADLINES);
  return result.rows.map((row) => {
    const { kind, tightest_in_ms: tightestInMs, waiting, overdue } = row;
    return {
      kind,
      tightestInMs: tightestInMs === null ? null : Number(tightestInMs),
      waiting: Number(waiting),
      overdue: Number(overdue),
    };
  });
}

/** The database's clock decides what is past the horizon: it also stamped the first attempts. */
async function claim(client: PoolClient, epoch: bigint, sink: SinkName, limit: number): Promise<ClaimStep> {
  await client.query(DUE_IN_INDEX_ORDER);
  const due = await client.query<DueRow>(DUE, [epoch, limit, sink, RESEND_HORIZON_MS]);
  const mayBeSent = (row: DueRow) => maySend(row.first_attempt_at?.getTime(), row.now.getTime());
  // The query's horizon is finer than a millisecond: what it found past it is another sink's and may seem not to be.
  const sendable = due.rows.filter((row) => mayBeSent(row) && (row.sink === "" || row.sink === sink));
  const held = due.rows.filter((row) => !mayBeSent(row)).map((row) => row.identifier);
  if (held.length > 0) await client.query(HOLD, [epoch, held, HELD_OUTCOME_UNKNOWN]);
  if (sendable.length > 0) await client.query(MARK_SENDING, [epoch, sendable.map((row) => row.identifier), sink]);
  const claimed = sendable.map((row) => ({ ...toReport(row), before: row.before, attempts: row.attempts + 1 }));
  return { claimed, held };
}

interface WindowRow {
  customer_id: string;
  stripe_customer_id: string;
  event_name: string;
  payload: string;
  window_start: Date;
  window_end: Date;
  total: string;
  reported: string;
  next_sequence: number;
  period_closed: boolean;
  period_open: boolean;
  finalizes_at: Date | null;
  /** Null where nothing is held. */
  held: string | null;
  held_reason: string | null;
  /** Null where nothing was. */
  elsewhere: readonly ElsewhereRow[] | null;
  now: Date;
}

interface ElsewhereRow extends Omit<ReportedElsewhere, "quantity" | "finalizesAtMs"> {
  quantity: string;
  finalizesAtMs: number | null;
}

interface DueRow {
  identifier: string;
  kind: ReportKind;
  origin: string | null;
  customer_id: string;
  stripe_customer_id: string;
  event_name: string;
  payload: string;
  window_start: Date;
  sequence: number;
  value: string;
  event_timestamp: Date;
  late: boolean;
  attempts: number;
  sink: SinkName | "";
  before: "planned" | "unknown";
  first_attempt_at: Date | null;
  now: Date;
}

interface DeadlineRow {
  kind: Deadline["kind"];
  tightest_in_ms: string | null;
  waiting: string;
  overdue: string;
}

type BacklogRow = Record<
  "open_reports" | "other_sink_reports" | "held_reports" | "unmapped_windows" | "lag_ms",
  string
>;

function toPendingWindow(row: WindowRow): PendingWindow {
  return {
    customerId: row.customer_id,
    stripeCustomerId: row.stripe_customer_id,
    eventName: row.event_name,
    payload: row.payload,
    windowStartMs: row.window_start.getTime(),
    windowEndMs: row.window_end.getTime(),
    total: BigInt(row.total),
    reported: BigInt(row.reported),
    nextSequence: row.next_sequence,
    periodClosed: row.period_closed,
    periodOpen: row.period_open,
    finalizesAtMs: row.finalizes_at?.getTime(),
    held: row.held === null ? undefined : { quantity: BigInt(row.held), reason: row.held_reason ?? "" },
    elsewhere: (row.elsewhere ?? []).map(({ quantity, finalizesAtMs, ...payer }) => {
      return { ...payer, quantity: BigInt(quantity), finalizesAtMs: finalizesAtMs ?? undefined };
    }),
  };
}

function cursorAt(windows: readonly PendingWindow[]): PlanCursor | undefined {
  const last = windows.at(-1);
  if (last === undefined) return undefined;
  const { windowEndMs, customerId, windowStartMs, eventName, payload } = last;
  return { windowEndMs, customerId, windowStartMs, eventName, payload };
}

function toReport(row: DueRow): Report {
  return {
    identifier: row.identifier,
    kind: row.kind,
    origin: row.origin ?? undefined,
    customerId: row.customer_id,
    stripeCustomerId: row.stripe_customer_id,
    eventName: row.event_name,
    payload: row.payload,
    windowStartMs: row.window_start.getTime(),
    sequence: row.sequence,
    value: BigInt(row.value),
    timestampMs: row.event_timestamp.getTime(),
    late: row.late,
  };
}

function toSettlementRow({ report, settlement }: SettledReport): object {
  return { identifier: report.identifier, ...settlement };
}
