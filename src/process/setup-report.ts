// What `metering stripe setup` prints for people.
import type { SetupItem } from "../stripe/setup/item.ts";

export interface SetupResult {
  readonly mode: "live" | "test";
  /** A stand-in's address; undefined: Stripe itself. */
  readonly apiBase: string | undefined;
  readonly dryRun: boolean;
  readonly items: readonly SetupItem[];
}

const STATES: Readonly<Record<SetupItem["state"], string>> = {
  found: "found",
  created: "created",
  changed: "changed",
  would_create: "would create",
  would_change: "would change",
  cannot_change: "CANNOT change",
};

/** Where the secret of each kind goes. */
const SECRET_SETTINGS = new Map<SetupItem["what"], string>([
  ["webhook endpoint", "STRIPE_WEBHOOK_SECRET"],
  ["event destination", "STRIPE_THIN_WEBHOOK_SECRET"],
]);

/** A table, then what the reader must do, or must know before it is too late. */
export function setupReport({ mode, apiBase, dryRun, items }: SetupResult): string {
  const where = apiBase === undefined ? "Stripe" : `Stripe at ${apiBase}`;
  const rows = [
    ["WHAT", "NAME", "ID", "STATE"],
    ...items.map(({ what, name, id, state, note }) => [
      what,
      name,
      id === "" ? "-" : id,
      note === "" ? STATES[state] : `${STATES[state]}: ${note}`,
    ]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const title = `${where}, ${mode} mode${dryRun ? ": nothing is changed" : ""}`;
  return `${[title, "", ...table, ...remarks(items, dryRun).flatMap((remark) => ["", remark])].join("\n")}\n`;
}

function remarks(items: readonly SetupItem[], dryRun: boolean): string[] {
  const isNew = (what: SetupItem["what"]) =>
    items.some((item) => item.what === what && (item.state === "created" || item.state === "would_create"));
  const found = [];
  if (dryRun && isNew("meter"))
    found.push(
      "Once made, a meter's event name, aggregation, customer mapping, value key and event time window cannot be changed.",
    );
  if (dryRun && isNew("price"))
    found.push("Once made, a price's amount, currency, interval, meter and product cannot be changed.");
  for (const { what, id, secret } of items) {
    if (secret === undefined) continue;
    found.push(
      `The signing secret of ${id} goes into ${SECRET_SETTINGS.get(what)}; it is shown this once (Stripe's Dashboard reveals it later):\n${secret}`,
    );
  }
  const troubled = items.filter(({ state }) => state === "cannot_change").length;
  if (troubled > 0) found.push(`${troubled} of ${items.length} need a person: see CANNOT above.`);
  return found;
}
