// What a run came to, and how it is told.
import type { Violation } from "../simulation/core/oracle.ts";
import type { Evidence } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { Tenure } from "./lease-watch.ts";
import type { LedgerFindings } from "./ledger-checks.ts";
import type { MoneyFindings } from "./money-checks.ts";

export interface Outcome {
  readonly seed: number;
  readonly commit: string;
  readonly minutes: number;
  readonly sink: string;
  readonly faults: {
    readonly total: number;
    readonly notReached: number;
    readonly byKind: Readonly<Record<string, number>>;
  };
  readonly deliveries: Pick<Evidence, "sent" | "acknowledged" | "duplicates" | "reused" | "unknown" | "unanswered">;
  readonly records: Pick<LedgerFindings, "records" | "lost" | "doubled" | "lostInGaps" | "refused"> & {
    readonly gaps: number;
  };
  readonly money: MoneyFindings;
  /** Seconds: from the end of a fault to the next acknowledgement of a delivery that set out after it. */
  readonly recovery: Spread;
  /** Seconds: from what befell a leader to the next epoch. */
  readonly takeover: Spread;
  readonly leaders: number;
  readonly reads: {
    readonly answered: number;
    readonly unanswered: number;
    readonly liveEvents: number;
    readonly reconnects: number;
  };
  /** From the end of the faults until all was settled. */
  readonly settledAfterS: number;
  readonly seconds: number;
  readonly violations: readonly (Violation & { readonly history: readonly string[] })[];
}

export interface Spread {
  readonly count: number;
  readonly median: number;
  readonly worst: number;
}

/** Times, ms, told in seconds with one digit. */
export function spreadOf(timesMs: readonly number[]): Spread {
  const sorted = [...timesMs].sort((a, b) => a - b);
  const seconds = (ms: number | undefined) => Math.round((ms ?? 0) / 100) / 10;
  return {
    count: sorted.length,
    median: seconds(sorted[Math.floor(sorted.length / 2)]),
    worst: seconds(sorted.at(-1)),
  };
}

/** From the end of each fault to the first acknowledgement of a delivery that set out after it. */
export function recoveries(faults: readonly Fault[], answers: Evidence["answers"]): number[] {
  return faults.flatMap(({ toMs }) => {
    const first = answers.find(({ sentMs, ackMs }) => sentMs >= toMs && ackMs >= toMs);
    return first === undefined ? [] : [first.ackMs - toMs];
  });
}

/** From the beginning of each fault of the leader to the epoch after it, where one was given out before the next fault of a leader. */
export function takeovers(faults: readonly Fault[], tenures: readonly Tenure[]): number[] {
  const ofLeaders = faults.filter(({ kind }) => kind.startsWith("leader")).sort((a, b) => a.fromMs - b.fromMs);
  return ofLeaders.flatMap(({ fromMs }, i) => {
    const next = tenures.find(({ seenMs }) => seenMs > fromMs);
    const isBeforeNext = next !== undefined && next.seenMs < (ofLeaders[i + 1]?.fromMs ?? Number.POSITIVE_INFINITY);
    return isBeforeNext ? [next.seenMs - fromMs] : [];
  });
}

export function countByKind(faults: readonly Fault[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind, target } of faults) {
    const name = kind === "Stripe faulty" ? `Stripe: ${target}` : kind;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => a.localeCompare(b)));
}

export function toText(outcome: Outcome): string {
  const { deliveries, records, money, recovery, takeover, faults, reads, violations } = outcome;
  const lines = [
    `seed ${outcome.seed}, commit ${outcome.commit}, ${outcome.minutes} min of faults, ${outcome.seconds} s in all, sink ${outcome.sink}`,
    "",
    `faults        ${faults.total}${faults.notReached === 0 ? "" : ` (${faults.notReached} more did not come to their turn)`}`,
    ...Object.entries(faults.byKind).map(([kind, count]) => `  ${String(count).padStart(4)}  ${kind}`),
    `deliveries    ${deliveries.sent} sent, ${deliveries.acknowledged} acknowledged (${deliveries.duplicates} as duplicates), ${deliveries.reused} refused as a used key, ${deliveries.unknown} never answered; ${deliveries.unanswered} attempts failed and were made again`,
    `ledger        ${records.records} records`,
    `LOST          ${records.lost}`,
    `DOUBLED       ${records.doubled}`,
    `lost with the store, inside reported gaps: ${records.lostInGaps} (${records.gaps} gaps); refused after a wipe, listed: ${records.refused}`,
    `money         ${money.reports} reports, ${money.events} events at Stripe, equal in ${money.metersCompared} hours of customers' meters; ${money.held} held, ${money.repairs} repairs, ${money.driftsLeft} drifts left to a person, ${money.notYetCompared} thrown away by Stripe in hours that are not over, ${money.invoices} invoiced periods`,
    `readers       ${reads.answered} answers, ${reads.unanswered} without; ${reads.liveEvents} live events over ${reads.reconnects} reconnections`,
    `recovery      first acknowledgement after a fault: median ${recovery.median} s, worst ${recovery.worst} s (${recovery.count})`,
    `takeover      next leader: median ${takeover.median} s, worst ${takeover.worst} s (${takeover.count}); ${outcome.leaders} epochs`,
    `settled       ${outcome.settledAfterS} s after the last fault`,
    "",
    ...violations.flatMap(({ checker, message, history }) => [
      `VIOLATION ${checker}: ${message}`,
      ...history.map((line) => `    ${line}`),
    ]),
    violations.length === 0 ? "Nothing lost, nothing twice." : `${violations.length} VIOLATIONS`,
  ];
  return `${lines.join("\n")}\n`;
}
