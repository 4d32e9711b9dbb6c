// HTML for the page: every text that comes from outside is escaped here.

const ROWS_MAX = 20;

/** A cell: text, a number, or nothing. */
export type Cell = string | number | null | undefined;

function escapeHtml(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? character);
}

/** A table of the last rows, the newest first; columns of numbers stand to the right. */
export function table(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  if (rows.length === 0) return `<p class="none">none</p>`;
  const shown = rows.slice(-ROWS_MAX).reverse();
  const isNumeric = columns.map((_, index) => shown.every((row) => isNumber(row[index])));
  const line = (tag: string, cells: readonly Cell[]) =>
    cells
      .map((cell, index) => `<${tag}${isNumeric[index] ? ' class="number"' : ""}>${escapeHtml(textOf(cell))}</${tag}>`)
      .join("");
  const body = shown.map((row) => `<tr>${line("td", row)}</tr>`).join("\n");
  const note = rows.length > shown.length ? `<p class="none">the last ${shown.length} of ${rows.length}</p>` : "";
  return `<div class="scroll"><table><thead><tr>${line("th", columns)}</tr></thead><tbody>\n${body}\n</tbody></table></div>${note}`;
}

function textOf(cell: Cell): string {
  return cell === null || cell === undefined ? "" : String(cell);
}

function isNumber(cell: Cell): boolean {
  return /^-?\d+(\.\d+)?$/.test(textOf(cell));
}

/** "2026-03-10 12:00:00": UTC, to the second. */
export function at(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

/** "in 2 d 3 h", "in 59 min 30 s", "5 s ago", "now": the two largest units. */
export function relative(ms: number, nowMs: number): string {
  let seconds = Math.round(Math.abs(ms - nowMs) / 1_000);
  if (seconds === 0) return "now";
  const parts: string[] = [];
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0 || parts.length > 0) parts.push(count > 0 ? `${count} ${unit}` : "");
  }
  const span = parts.slice(0, 2).join(" ").trim();
  return ms > nowMs ? `in ${span}` : `${span} ago`;
}
