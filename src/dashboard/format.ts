// Numbers, times and spans as the reader's language writes them; hours always from 0 to 23, months by name where it has short ones.
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate } from "@bufbuild/protobuf/wkt";

/** What the language decides. `locale` undefined: the browser's; `timeZone` undefined: the machine's. */
export function formatIn(locale?: string, timeZone?: string) {
  const percentOf = (signDisplay: "auto" | "exceptZero") =>
    new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0, signDisplay });
  const timeOf = (options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat(locale, { ...options, hourCycle: "h23", ...(timeZone !== undefined && { timeZone }) });
  const hours = { hour: "2-digit", minute: "2-digit" } as const;
  const date = { year: "numeric", month: "short", day: "numeric" } as const;
  const wholeFormat = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
  const compactFormat = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
  const shareFormat = percentOf("auto");
  const changeFormat = percentOf("exceptZero");
  const dayFormat = timeOf({ month: "short", day: "numeric" });
  const dayTimeFormat = timeOf({ month: "short", day: "numeric", ...hours });
  const momentFormat = timeOf({ ...date, ...hours });
  const zonedFormat = timeOf({ ...date, ...hours, timeZoneName: "short" });
  const secondFormat = timeOf({ ...hours, second: "2-digit" });
  const minuteFormat = timeOf(hours);
  return {
    /** Every digit, whatever the size. */
    whole: (quantity: bigint | number): string => wholeFormat.format(quantity),
    /** Few digits, for axes: "1.2M". */
    compact: (value: number): string => compactFormat.format(value),
    percent: (part: bigint, of: bigint): string => shareFormat.format(ratio(part, of)),
    /** How much more than before: "+12%"; undefined where there was nothing before. */
    change: (now: bigint, before: bigint): string | undefined =>
      before === 0n ? undefined : changeFormat.format(ratio(now - before, before)),
    day: (atMs: number): string => dayFormat.format(atMs),
    /** Of the days around: without a year. */
    dayTime: (atMs: number): string => dayTimeFormat.format(atMs),
    moment: (at: Timestamp): string => momentFormat.format(timestampDate(at)),
    /** With the name of the zone. */
    zonedMoment: (at: Timestamp): string => zonedFormat.format(timestampDate(at)),
    /** To the second. */
    clockTime: (atMs: number): string => secondFormat.format(atMs),
    /** To the minute. */
    clockMinute: (atMs: number): string => minuteFormat.format(atMs),
  };
}

export const { whole, compact, percent, change, day, dayTime, moment, zonedMoment, clockTime, clockMinute } =
  formatIn();

/** Part of a whole as 0..1, to a hundredth of a percent; the quotient of large numbers is taken before they become doubles. */
export function ratio(part: bigint, of: bigint): number {
  return of === 0n ? 0 : Number((part * 10_000n) / of) / 10_000;
}

/** Of the two largest units: "3 d 4 h", "12 s"; with a minus where it has passed. */
export function span(seconds: number): string {
  const rest = Math.round(Math.abs(seconds));
  const sign = seconds < 0 && rest > 0 ? "−" : "";
  const units: [string, number][] = [
    ["d", Math.floor(rest / 86_400)],
    ["h", Math.floor(rest / 3_600) % 24],
    ["min", Math.floor(rest / 60) % 60],
    ["s", rest % 60],
  ];
  const first = units.findIndex(([, count]) => count > 0);
  if (first < 0) return "0 s";
  const shown = units.slice(first, first + 2).filter(([, count]) => count > 0);
  return sign + shown.map(([unit, count]) => `${count} ${unit}`).join(" ");
}

export const durationSeconds = ({ seconds, nanos }: Duration): number => Number(seconds) + nanos / 1e9;

/** Seconds from one to the other. */
export function secondsBetween(from: Timestamp, to: Timestamp): number {
  return (timestampDate(to).getTime() - timestampDate(from).getTime()) / 1000;
}
