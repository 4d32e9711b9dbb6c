// Quantities are exact: whole numbers scaled by 10^12, so that decimals (behind a setting) sum without a float.

/** One unit. Twelve places are what Stripe allows in a decimal price, too. */
export const QUANTITY_ONE = 10n ** 12n;
const PLACES = 12;

/** Stripe's limit on a meter event's value. */
export const SIGNIFICANT_DIGITS_MAX = 15;

/** Parses `-12` or `0.25` into a scaled quantity; undefined if the text is no such number or has more than 12 places. */
export function parseQuantity(text: string): bigint | undefined {
  const match = /^([+-]?)(\d+)(?:\.(\d+))?$/.exec(text);
  const fraction = match?.[3] ?? "";
  if (match === null || fraction.length > PLACES) return undefined;
  const scaled = BigInt(`${match[2]}${fraction.padEnd(PLACES, "0")}`);
  return match[1] === "-" ? -scaled : scaled;
}

/** How many significant digits the text of a number has: leading zeros don't count, nor does the point. */
export function significantDigits(text: string): number {
  return text.replace(/[^\d]/g, "").replace(/^0+/, "").length;
}

/** The exact decimal text of a scaled quantity, without trailing zeros. */
export function formatQuantity(scaled: bigint): string {
  const sign = scaled < 0n ? "-" : "";
  const digits = (scaled < 0n ? -scaled : scaled).toString().padStart(PLACES + 1, "0");
  const fraction = digits.slice(-PLACES).replace(/0+$/, "");
  return `${sign}${digits.slice(0, -PLACES)}${fraction === "" ? "" : `.${fraction}`}`;
}

/** As Stripe renders it: a JSON number, exact to about 15 digits. */
export function toJsonNumber(scaled: bigint): number {
  return Number(formatQuantity(scaled));
}
