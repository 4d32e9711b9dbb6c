// What verdicts about spans make of the outbox. Runs in the transaction that read the spans, with their reports locked.
import type { Freeze, MeteredCustomer } from "../app/ports/reconciliation.ts";
import type { SpanView, Verdict } from "../domain/reconcile.ts";
import { MESSAGE_MAX, type PlannedReport, type Report } from "../domain/report.ts";
import { toJson } from "./json.ts";
import type { Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const MAKE_WINDOWS = sqlFile("reconcile-make-windows");
const LOCK_WINDOWS = sqlFile("window-lock");
const CONFIRM = sqlFile("reconcile-confirm");
const RESEND = sqlFile("reconcile-resend");
const INSERT = sqlFile("report-insert");
const DRIFTS = sqlFile("reconcile-drifts");
const DRIFT_SETTLED = sqlFile("reconcile-drift-settled");

export interface WriteContext {
  readonly epoch: bigint;
  /** Until an open drift is looked at again. */
  readonly lagMs: number;
  readonly of: MeteredCustomer;
  readonly freeze: Freeze;
}

interface Judged {
  readonly view: SpanView;
  readonly verdict: Verdict;
}

type Window = Pick<Report, "customerId" | "eventName" | "payload" | "windowStartMs">;

/**
 * Writes what was decided. All windows that are touched are locked at once, in the order of their key, before any is written: whoever locks
 * several elsewhere goes by the same order.
 */
export async function carryOut(client: Queryable, context: WriteContext, judged: readonly Judged[]): Promise<void> {
  const accept = judged.flatMap(({ verdict }) => ("accept" in verdict ? verdict.accept : []));
  const reconciled = judged.flatMap(({ verdict }) => ("reconciled" in verdict ? verdict.reconciled : []));
  const resend = judged.flatMap(({ verdict }) => (verdict.kind === "resend" ? verdict.resend : []));
  const sequences = await lockWindows(client, context.of, judged, new Set(accept));
  if (reconciled.length > 0) await client.query(CONFIRM, [context.epoch, accept, reconciled, MESSAGE_MAX]);
  if (resend.length > 0) await client.query(RESEND, [context.epoch, resend]);
  const booked = new Map(judged.flatMap((one) => bookOne(context, one, sequences)));
  if (booked.size > 0) await client.query(INSERT, [context.epoch, toJson([...booked.values()].flat())]);
  const { stripeCustomerId, eventName } = context.of;
  const looked = judged.flatMap((one) => lookedRows(one, booked.get(one.view)));
  if (looked.length === 0) return;
  await client.query(DRIFTS, [stripeCustomerId, eventName, toJson(looked), context.lagMs]);
  if (judged.some(({ verdict }) => verdict.kind === "repair" || verdict.kind === "invoiced"))
    await client.query(DRIFT_SETTLED, [stripeCustomerId, eventName, toJson(looked)]);
}

/** Next sequences of the windows in which something is booked or accepted, by window. */
async function lockWindows(
  client: Queryable,
  of: MeteredCustomer,
  judged: readonly Judged[],
  accept: ReadonlySet<string>,
): Promise<Map<string, number>> {
  const booked = judged.flatMap(({ verdict }): Window[] => {
    return verdict.kind === "repair" ? [windowOf({ ...verdict.remedy, eventName: of.eventName })] : [];
  });
  const accepted = judged.flatMap(({ view }) => view.reports.filter(({ identifier }) => accept.has(identifier)));
  const windows = [...booked, ...accepted.map(windowOf)];
  if (windows.length === 0) return new Map();
  if (booked.length > 0) await client.query(MAKE_WINDOWS, [toJson(booked)]);
  const rows = windows.map(({ customerId, eventName, payload, windowStartMs }) => {
    return { customer_id: customerId, window_start: new Date(windowStartMs), event_name: eventName, payload };
  });
  const locked = await client.query<WindowRow>(LOCK_WINDOWS, [toJson(rows)]);
  return new Map(
    locked.rows.map((row) => {
      const windowStartMs = row.window_start.getTime();
      const { customer_id: customerId, event_name: eventName, payload } = row;
      return [keyOf({ customerId, eventName, payload, windowStartMs }), row.next_sequence];
    }),
  );
}

interface WindowRow {
  customer_id: string;
  window_start: Date;
  event_name: string;
  payload: string;
  next_sequence: number;
}

/** The booking of a drift and what makes up for it, as they are stored. Moves the window's sequence on. */
function bookOne(
  { of, freeze }: WriteContext,
  { view, verdict }: Judged,
  sequences: Map<string, number>,
): [SpanView, [PlannedReport, PlannedReport]][] {
  if (verdict.kind !== "repair") return [];
  const { remedy } = verdict;
  const key = keyOf({ ...remedy, eventName: of.eventName });
  const sequence = sequences.get(key);
  if (sequence === undefined) throw new Error(`there is no window to book the drift in: ${key}`);
  sequences.set(key, sequence + 2);
  const { booking, repair } = freeze(of, remedy, sequence);
  return [[view, [booking, repair]]];
}

/** What the drift table is told of a span: nothing where nothing was decided yet. */
function lookedRows({ view, verdict }: Judged, booked: readonly PlannedReport[] | undefined): object[] {
  if (verdict.kind === "wait" || verdict.kind === "narrow") return [];
  const { startMs, endMs } = view;
  if (verdict.kind === "agree") return [{ startMs, endMs, state: "agree" }];
  const [booking, repair] = booked ?? [];
  return [
    {
      startMs,
      endMs,
      ...verdict.drift,
      state: STATES[verdict.kind],
      hindrance: verdict.kind === "open" ? verdict.hindrance : "",
      booking: booking?.identifier,
      repair: repair?.identifier,
    },
  ];
}

const STATES = { repair: "repaired", invoiced: "invoiced", open: "open", resend: "open" } as const;

function windowOf({ customerId, eventName, payload, windowStartMs }: Window): Window {
  return { customerId, eventName, payload, windowStartMs };
}

function keyOf(window: Window): string {
  return JSON.stringify([window.customerId, window.eventName, window.payload, window.windowStartMs]);
}
