// Numbers, times and spans as the reader's language writes them.
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate } from "@bufbuild/protobuf/wkt";

const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const PERCENT = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const CHANGE = new Intl.NumberFormat(undefined, {
  style: "percent",
  maximumFractionDigits: 0,
  signDisplay: "exceptZero",
});
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Every digit, whatever the size. */
export const whole = (quantity: bigint | number): string => WHOLE.format(quantity);
export const compact = (value: number): string => COMPACT.format(value);
export const moment = (at: Timestamp): string => MOMENT.format(timestampDate(at));
export const clockTime = (atMs: number): string => CLOCK.format(atMs);

/** Part of a whole as 0..1; the quotient of large numbers is taken before they become doubles. */
export function ratio(part: bigint, of: bigint): number {
  return of === 0n ? 0 : Number((part * 10_000n) / of) / 10_000;
}

export const percent = (part: bigint, of: bigint): string => PERCENT.format(ratio(part, of));

/** How much more than before: "+12%"; undefined where there was nothing before. */
export function change(now: bigint, before: bigint): string | undefined {
  return before === 0n ? undefined : CHANGE.format(ratio(now - before, before));
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
