// What `metering stripe reconcile` prints: a table for people, an object for machines.
import type { BookedDrift, MeteredCustomer } from "../app/ports/reconciliation.ts";
import type { Findings } from "../app/reconcile-now.ts";
import type { Apply, Hindrance } from "../domain/reconcile.ts";
import type { Interval } from "../domain/window.ts";

export interface Outcome {
  readonly range: Interval;
  /** At the last look: of what was asked for, what came of it. */
  readonly found: Findings;
  /** What was asked for; undefined: only to look. */
  readonly apply: Apply | undefined;
  /** What was repaired, or written off. */
  readonly booked: readonly BookedDrift[];
}

/** What to do about a drift that is left. */
const ADVICE: Readonly<Record<Hindrance | "none", string>> = {
  foreign: "not this service's: --apply takes it out",
  boundary: "a billing period ends in this minute: settled once both invoices are final",
  too_old: "older than Stripe takes corrections of: settle it by hand, then --write-off",
  too_large: "more than one event may hold: correct it at Stripe by hand",
  limit: "above METERING_REPAIR_LIMIT: --apply repairs it",
  unconfirmed: "the leader repairs it if it is still there at the next look",
  none: "the leader repairs it",
};

/** Quantities as decimal strings, times as ISO 8601. */
export function outcomeJson({ range, found, apply, booked }: Outcome): object {
  return {
    from: iso(range.startMs),
    to: iso(range.endMs),
    meters: found.meters,
    spans: found.spans,
    waiting: found.waiting,
    incomparable: found.incomparable,
    drifts: found.drifts.map((drift) => ({ ...drifted(drift), hindrance: drift.hindrance ?? null })),
    [apply === "write_off" ? "writtenOff" : "repaired"]: booked.map((drift) => {
      return { ...drifted(drift), repair: drift.repair };
    }),
  };
}

export function describeOutcome({ range, found, apply, booked }: Outcome): string {
  const lines = [
    `${found.meters} customers' meters, ${iso(range.startMs)} to ${iso(range.endMs)}: ${found.spans} spans compared.`,
  ];
  if (found.waiting > 0)
    lines.push(`${found.waiting} hours wait: something in them was sent too lately, or its fate is open.`);
  if (found.incomparable.length > 0) {
    lines.push(`Nothing to compare with at Stripe: ${found.incomparable.map(nameOf).join(", ")}.`);
  }
  if (booked.length > 0) {
    const heading =
      apply === "write_off"
        ? 'Written off; "metering reports retry" with what stands on the right sends it after all:'
        : "Repaired; what was planned goes with the next flush:";
    lines.push("", heading, ...table(booked, ({ repair }) => repair));
  }
  if (found.drifts.length > 0) {
    lines.push("", "Stripe's sums differ:", ...table(found.drifts, ({ hindrance }) => ADVICE[hindrance ?? "none"]));
  } else if (found.spans > 0)
    lines.push(`Stripe's sums agree with the ledger${found.waiting > 0 ? " in the other hours" : ""}.`);
  return `${lines.join("\n")}\n`;
}

type AnyDrift = Omit<BookedDrift, "repair">;

function table<D extends AnyDrift>(drifts: readonly D[], last: (drift: D) => string): string[] {
  const rows = drifts.map((drift) => [
    nameOf(drift),
    iso(drift.startMs),
    minutes(drift),
    String(drift.expected),
    String(drift.counted),
    signed(drift.counted - drift.expected),
    drift.explanation,
    last(drift),
  ]);
  const all = [["CUSTOMER METER", "FROM", "SPAN", "LEDGER", "STRIPE", "DIFFERENCE", "EXPLANATION", ""], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function drifted({ stripeCustomerId, eventName, startMs, endMs, expected, counted, explanation }: AnyDrift): object {
  return {
    stripeCustomerId,
    eventName,
    from: iso(startMs),
    to: iso(endMs),
    expected: String(expected),
    counted: String(counted),
    difference: String(counted - expected),
    explanation,
  };
}

function nameOf({ stripeCustomerId, eventName }: MeteredCustomer): string {
  return `${stripeCustomerId} ${eventName}`;
}

function minutes({ startMs, endMs }: Interval): string {
  return `${(endMs - startMs) / 60_000} min`;
}

function signed(quantity: bigint): string {
  return quantity > 0n ? `+${quantity}` : String(quantity);
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
