// Bounds of text fields. Plain ASCII, which nearly all ids are, is settled by one regular expression; the rest is looked at closely.

const VISIBLE_ASCII = /^[!-~]+$/;
const PRINTABLE_ASCII = /^[ -~]*$/;
const CONTROL = /\p{Cc}/u;

/** Longest customer id, API key id, model and idempotency key, in characters. */
export const ID_MAX = 128;

/** What is wrong with an idempotency key; undefined when nothing is. */
export function keyProblem(text: string): string | undefined {
  if (text.length <= ID_MAX && VISIBLE_ASCII.test(text)) return undefined;
  if (text.length === 0) return "is required";
  if (text.length > ID_MAX) return `must be at most ${ID_MAX} characters`;
  return "must be visible ASCII characters only";
}

/** What is wrong with text of `min`..`max` characters (Unicode code points); undefined when nothing is. */
export function textProblem(text: string, min: 0 | 1, max: number): string | undefined {
  if (text.length < min) return "is required";
  if (text.length <= max && PRINTABLE_ASCII.test(text)) return undefined;
  // A code point is at most two UTF-16 units, so longer text need not be counted.
  if (text.length > 2 * max || codePointCount(text) > max) return `must be at most ${max} characters`;
  if (!text.isWellFormed()) return "must be valid Unicode";
  return CONTROL.test(text) ? "must not contain control characters" : undefined;
}

function codePointCount(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
