// Comparing hours with Stripe's sums: whole hours first, many a request; where they differ, halves and halves of halves, down to minutes.
import type { Apply, Verdict } from "../domain/reconcile.ts";
import { type Interval, MINUTE_MS } from "../domain/window.ts";
import {
  type Comparison,
  HOURS_PER_READ,
  type HourToCompare,
  type MeterSummaries,
  type Reading,
} from "./ports/reconciliation.ts";

export const HOUR_MS = 60 * MINUTE_MS;

/** Decides about readings, and perhaps does what was decided. One verdict a reading, in order. */
export type Judge = (readings: readonly Reading[], apply: Apply | undefined) => Promise<readonly Verdict[]>;

export interface Judged extends Reading {
  readonly verdict: Verdict;
}

/** Reads and judges the hours of a comparison. */
export interface ComparedHours {
  /** Spans that were not looked at more closely, ascending: an hour that agrees is one. */
  readonly judged: readonly Judged[];
  /** Starts of hours in which something has to settle first. */
  readonly waiting: readonly number[];
}

export interface CompareOptions {
  readonly summaries: MeterSummaries;
  readonly judge: Judge;
  /** Waits for the turn of a request. */
  readonly turn: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * Compares the hours, as far as they are over at `untilMs`. An hour in which a billing period ends is compared in parts, so that nothing
 * missing in one period is made up for by an excess in the next; a part that is over is compared though the hour is not. Every verdict
 * rests on a reading of its very span, never on what is left when others are subtracted. Undefined where Stripe has no meter, or no
 * customer, to compare with. Rejects when Stripe cannot be read, and with what `judge` rejects; what was judged by then stays.
 */
export async function compareHours(
  comparison: Comparison,
  untilMs: number,
  options: CompareOptions,
): Promise<ComparedHours | undefined> {
  const judged: Judged[] = [];
  for (const group of groupsOf(comparison.hours)) {
    const apply = group[0]?.apply;
    let readings = await readHours(comparison, group, untilMs, options);
    while (readings !== undefined && readings.length > 0) {
      const verdicts = await options.judge(readings, apply);
      const found = readings.flatMap((reading, i) => {
        const verdict = verdicts[i];
        return verdict === undefined ? [] : [{ ...reading, verdict }];
      });
      judged.push(...found.filter(({ verdict }) => verdict.kind !== "narrow"));
      const halves = found.filter(({ verdict }) => verdict.kind === "narrow").flatMap(halvesOf);
      readings = await readSpans(comparison, halves, options);
    }
    if (readings === undefined) return undefined;
  }
  judged.sort((a, b) => a.startMs - b.startMs);
  const waits = judged.filter(({ verdict }) => verdict.kind === "wait");
  return { judged, waiting: [...new Set(waits.map(({ startMs }) => Math.floor(startMs / HOUR_MS) * HOUR_MS))] };
}

/** Hours that one request can cover, and that are judged alike. */
function groupsOf(hours: readonly HourToCompare[]): readonly HourToCompare[][] {
  const groups: HourToCompare[][] = [];
  for (const hour of hours) {
    const group = groups.at(-1);
    const first = group?.[0];
    const fits = first && first.apply === hour.apply && hour.startMs - first.startMs < HOURS_PER_READ * HOUR_MS;
    if (fits) group?.push(hour);
    else groups.push([hour]);
  }
  return groups;
}

async function readHours(
  comparison: Comparison,
  hours: readonly HourToCompare[],
  untilMs: number,
  { summaries, turn, signal, ...rest }: CompareOptions,
): Promise<Reading[] | undefined> {
  const isOver = ({ endMs }: Interval) => endMs <= untilMs;
  const whole = hours
    .filter(({ boundariesMs }) => boundariesMs.length === 0)
    .map(spanOf)
    .filter(isOver);
  const parts = hours
    .filter(({ boundariesMs }) => boundariesMs.length > 0)
    .flatMap(partsOf)
    .filter(isOver);
  const readings = await readSpans(comparison, parts, { summaries, turn, signal, ...rest });
  const [first, last] = [whole[0], whole.at(-1)];
  if (first === undefined || last === undefined || readings === undefined) return readings;
  await turn(signal);
  const sums = await summaries.hours(comparison, { startMs: first.startMs, endMs: last.endMs }, signal);
  return sums && [...readings, ...whole.map((hour) => ({ ...hour, counted: sums.get(hour.startMs) ?? 0n }))];
}

async function readSpans(
  comparison: Comparison,
  spans: readonly Interval[],
  { summaries, turn, signal }: CompareOptions,
): Promise<Reading[] | undefined> {
  const readings: Reading[] = [];
  for (const { startMs, endMs } of spans) {
    await turn(signal);
    const counted = await summaries.sum(comparison, { startMs, endMs }, signal);
    if (counted === undefined) return undefined;
    readings.push({ startMs, endMs, counted });
  }
  return readings;
}

function spanOf({ startMs }: { startMs: number }): Interval {
  return { startMs, endMs: startMs + HOUR_MS };
}

/** An hour around its boundaries: before, the minute that each is in (none where it is on a minute), between, after. */
function partsOf({ startMs, boundariesMs }: HourToCompare): Interval[] {
  const cuts = boundariesMs.flatMap((ms) => [
    Math.floor(ms / MINUTE_MS) * MINUTE_MS,
    Math.ceil(ms / MINUTE_MS) * MINUTE_MS,
  ]);
  const edges = [...new Set([startMs, ...cuts, startMs + HOUR_MS])].sort((a, b) => a - b);
  return edges.slice(1).map((endMs, i) => ({ startMs: edges[i] ?? endMs, endMs }));
}

/** Both on whole minutes. */
function halvesOf({ startMs, endMs }: Interval): Interval[] {
  const middleMs = startMs + Math.ceil((endMs - startMs) / MINUTE_MS / 2) * MINUTE_MS;
  return [
    { startMs, endMs: middleMs },
    { startMs: middleMs, endMs },
  ];
}
