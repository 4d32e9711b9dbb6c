// Ids of stream entries: "milliseconds-sequence", both decimal without leading zeros, as Redis gives them.

/** Before every entry. */
export const FIRST_ENTRY_ID = "0-0";

/** Negative when `a` is before `b`, 0 when equal. Numbers of any length, since both parts may have 64 bits. */
export function compareEntryIds(a: string, b: string): number {
  if (a === b) return 0;
  const aDash = a.indexOf("-");
  const bDash = b.indexOf("-");
  return (
    compareDecimals(a.slice(0, aDash), b.slice(0, bDash)) || compareDecimals(a.slice(aDash + 1), b.slice(bDash + 1))
  );
}

/** When the entry was appended, by the store's clock. */
export function entryTimeMs(entryId: string): number {
  return Number.parseInt(entryId, 10);
}

/** Of two decimals without leading zeros the longer is the larger; equally long ones order as text. */
function compareDecimals(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
