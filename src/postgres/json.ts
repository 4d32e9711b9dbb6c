/** JSON with bigints as decimal strings, which Postgres reads into int8 exactly. */
export function toJson(rows: readonly object[]): string {
  return JSON.stringify(rows, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}
