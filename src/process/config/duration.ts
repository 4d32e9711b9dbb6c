// Spans as people write them in settings.

const UNITS_MS = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/** As a setting has it, in the largest unit that leaves a whole number: 60000 is "1m". */
export function durationText(ms: number): string {
  let text = `${ms}ms`;
  for (const [unit, unitMs] of UNITS_MS) if (ms > 0 && ms % unitMs === 0) text = `${ms / unitMs}${unit}`;
  return text;
}

/** Milliseconds of "500ms", "60s", "15m", "24h" or "40d": a whole number and one unit. Undefined for all else; "60" has no unit. */
export function parseDuration(text: string): number | undefined {
  const [, digits, unit] = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text) ?? [];
  const unitMs = unit === undefined ? undefined : UNITS_MS.get(unit);
  if (digits === undefined || unitMs === undefined) return undefined;
  return Number(digits) * unitMs;
}
