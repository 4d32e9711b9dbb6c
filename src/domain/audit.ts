// What a day's sums must be, against what they are: every difference by its row and column. Pure.
import type { RollupDelta, Series } from "./rollup.ts";
import { compareText } from "./usage-record.ts";
import { DAY_MS, MINUTE_MS, QUARTER_HOUR_MS, windowAt } from "./window.ts";

/** A column of a row that is not what it must be. */
export interface Difference {
  readonly table: "series" | "rollup_quarter_hour" | "rollup_day" | "pending_window";
  readonly column:
    | "row"
    | "quantity"
    | "record_count"
    | "total"
    | "window_end"
    | "reported"
    | "accepted"
    | "next_sequence"
    | "reports";
  /** Start of the window, ms; of a series, of the day in which it is needed. */
  readonly windowStartMs: number;
  /** Which row of the window: a series, or event name and payload. Empty: all series of the window together. */
  readonly of: string;
  /** Null: there must be no such row, or there is none. */
  readonly expected: string | null;
  readonly found: string | null;
}

/** A line of a rollup. */
export type RollupLine = Omit<RollupDelta, "customerId">;

/** What raw records add up to, over one UTC day of one customer. */
export interface ExpectedDay {
  readonly series: readonly Omit<Series, "customerId">[];
  readonly quarterHours: readonly RollupLine[];
  readonly pending: readonly ExpectedWindow[];
  /**
   * Starts of minutes that hold records from before catalogs were kept. By which rules those were billed, and under which labels summed, is not
   * known: there the totals of windows are let be, and rollups compared over all series together.
   */
  readonly uncertainMinutes: ReadonlySet<number>;
}

export interface ExpectedWindow {
  readonly windowStartMs: number;
  readonly eventName: string;
  readonly payload: string;
  readonly total: bigint;
}

/** A pending window beside what the reports of it add up to. */
export interface AuditedWindow {
  readonly windowStartMs: number;
  readonly eventName: string;
  readonly payload: string;
  /** Undefined: there are reports, but their window is lost. */
  readonly row: WindowRow | undefined;
  readonly outbox: OutboxSums;
}

export interface WindowRow {
  readonly windowEndMs: number;
  readonly total: bigint;
  readonly reported: bigint;
  readonly accepted: bigint;
  readonly nextSequence: number;
}

/** Over all reports of a window. */
export interface OutboxSums {
  /** Of usage: what was frozen. */
  readonly reported: bigint;
  /** Of what was accepted, bookings included. */
  readonly accepted: bigint;
  readonly reports: number;
  /** One beyond the highest sequence; 0 without reports. */
  readonly nextSequence: number;
}

/** A window's row in words. */
function windowName({ eventName, payload }: { readonly eventName: string; readonly payload: string }): string {
  return payload === "{}" ? eventName : `${eventName} ${payload}`;
}

/** The days that quarter-hours add up to; exact, since no quarter-hour spans a boundary. */
export function daysOf(quarterHours: readonly RollupLine[], boundaries: readonly number[]): RollupLine[] {
  const days = new Map<string, RollupLine>();
  for (const line of quarterHours) {
    const windowStartMs = windowAt(line.windowStartMs, DAY_MS, boundaries).startMs;
    const key = `${windowStartMs} ${line.seriesId}`;
    days.set(key, added({ ...line, windowStartMs }, days.get(key)));
  }
  return [...days.values()];
}

/** Differences of a rollup's lines; one that counts nothing is as good as none. */
export function compareRollup(
  table: "rollup_quarter_hour" | "rollup_day",
  expected: readonly RollupLine[],
  found: readonly RollupLine[],
  uncertainMinutes: ReadonlySet<number>,
  boundaries: readonly number[],
): Difference[] {
  const sizeMs = table === "rollup_day" ? DAY_MS : QUARTER_HOUR_MS;
  const uncertain = new Set([...uncertainMinutes].map((ms) => windowAt(ms, sizeMs, boundaries).startMs));
  const together = (lines: readonly RollupLine[]) => {
    const byRow = new Map<string, RollupLine>();
    for (const line of lines) {
      const seriesId = uncertain.has(line.windowStartMs) ? "" : line.seriesId;
      const key = `${line.windowStartMs} ${seriesId}`;
      byRow.set(key, added({ ...line, seriesId }, byRow.get(key)));
    }
    return byRow;
  };
  const [wanted, there] = [together(expected), together(found)];
  return [...new Set([...wanted.keys(), ...there.keys()])].flatMap((key) => {
    const [must, is] = [wanted.get(key), there.get(key)];
    const { windowStartMs = 0, seriesId: of = "" } = must ?? is ?? {};
    const row = { table, windowStartMs, of };
    return [
      ...unequal({ ...row, column: "quantity" }, must?.quantity ?? 0n, is?.quantity ?? 0n),
      ...unequal({ ...row, column: "record_count" }, must?.recordCount ?? 0n, is?.recordCount ?? 0n),
    ];
  });
}

/** Series that the day's sums are under: each must be there, as it was when its id was made of it. */
export function compareSeries(
  dayMs: number,
  expected: readonly Omit<Series, "customerId">[],
  found: readonly Omit<Series, "customerId">[],
): Difference[] {
  const there = new Map(found.map((series) => [series.seriesId, describeSeries(series)]));
  return expected.flatMap((series): Difference[] => {
    const [must, is] = [describeSeries(series), there.get(series.seriesId) ?? null];
    if (must === is) return [];
    return [{ table: "series", column: "row", windowStartMs: dayMs, of: series.seriesId, expected: must, found: is }];
  });
}

/** Totals and ends of windows, against raw records. */
export function compareTotals(
  expected: readonly ExpectedWindow[],
  found: readonly AuditedWindow[],
  uncertainMinutes: ReadonlySet<number>,
  boundaries: readonly number[],
): Difference[] {
  const rows = new Map(found.map((window) => [keyOf(window), window.row]));
  const wanted = new Map(expected.map((window) => [keyOf(window), window]));
  const windows = new Map([...found, ...expected].map((window) => [keyOf(window), window]));
  return [...windows].flatMap(([key, window]) => {
    const row = rows.get(key);
    const { windowStartMs } = window;
    const of = { table: "pending_window", windowStartMs, of: windowName(window) } as const;
    const must = wanted.get(key)?.total ?? 0n;
    const minute = windowAt(windowStartMs, MINUTE_MS, boundaries);
    const isCut = row === undefined || minute.startMs !== windowStartMs || row.windowEndMs === minute.endMs;
    const total = uncertainMinutes.has(minute.startMs)
      ? []
      : unequal({ ...of, column: "total" }, must, row?.total ?? 0n);
    return isCut
      ? total
      : [...total, { ...of, column: "window_end" as const, expected: iso(minute.endMs), found: iso(row.windowEndMs) }];
  });
}

/** The outbox' arithmetic: what a window says of its reports, against the reports. Needs no raw records. */
export function compareOutbox(windows: readonly AuditedWindow[]): Difference[] {
  return windows.flatMap((window): Difference[] => {
    const { row, outbox, windowStartMs } = window;
    const of = { table: "pending_window", windowStartMs, of: windowName(window) } as const;
    if (row === undefined) return [{ ...of, column: "row", expected: `of ${outbox.reports} reports`, found: null }];
    return [
      ...unequal({ ...of, column: "reported" }, outbox.reported, row.reported),
      ...unequal({ ...of, column: "accepted" }, outbox.accepted, row.accepted),
      // Sequences are given out without gaps, and no report is ever deleted.
      ...unequal({ ...of, column: "next_sequence" }, Math.max(outbox.nextSequence, outbox.reports), row.nextSequence),
      ...(outbox.reports === outbox.nextSequence
        ? []
        : unequal({ ...of, column: "reports" }, outbox.nextSequence, outbox.reports)),
    ];
  });
}

function keyOf({ windowStartMs, eventName, payload }: ExpectedWindow | AuditedWindow): string {
  return JSON.stringify([windowStartMs, eventName, payload]);
}

function unequal<V extends bigint | number | string>(
  row: Omit<Difference, "expected" | "found">,
  expected: V,
  found: V,
): Difference[] {
  return expected === found ? [] : [{ ...row, expected: String(expected), found: String(found) }];
}

function added(line: RollupLine, to: RollupLine | undefined): RollupLine {
  if (to === undefined) return line;
  return { ...line, quantity: line.quantity + to.quantity, recordCount: line.recordCount + to.recordCount };
}

function describeSeries({ apiKeyId, model, meter, labels }: Omit<Series, "customerId">): string {
  return JSON.stringify([apiKeyId, model, meter, [...labels].sort(([a], [b]) => compareText(a, b))]);
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
