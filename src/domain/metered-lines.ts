// What an invoice says of metered usage: its lines, brought together by meter and period. Pure.

/** One invoice line of a metered price. */
export interface MeteredLine {
  /** The subscription item that the line bills. */
  readonly subscriptionItem: string;
  /** Of the price's meter. */
  readonly eventName: string;
  /** The time of the usage that the line bills; half-open, whole seconds. */
  readonly startMs: number;
  readonly endMs: number;
  /** Usage on the line, whole units; undefined where the line does not say it. */
  readonly quantity: bigint | undefined;
}

/** Usage of a meter over a period, as one invoice bills it. */
export interface LinePeriod {
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly quantity: bigint | undefined;
}

/**
 * An invoice's periods, one a meter and start, in that order. Lines of one subscription item add up, since graduated tiers make a line
 * each. Several items on one meter bill the same usage each, so the greatest of them is what was billed of it; adding them up would make
 * believe that Stripe billed what it never counted. A quantity that one line does not say is not known of the period either. Lines of no
 * length say nothing; of two periods that start together the longer one stands.
 */
export function linePeriods(lines: readonly MeteredLine[]): readonly LinePeriod[] {
  const real = lines.filter((line) => line.startMs < line.endMs);
  const byPeriod = Map.groupBy(real, (line) => JSON.stringify([line.eventName, line.startMs]));
  const periods = [...byPeriod.values()].map((together): LinePeriod => {
    const endMs = Math.max(...together.map((line) => line.endMs));
    const longest = together.filter((line) => line.endMs === endMs);
    const items = [...Map.groupBy(longest, (line) => line.subscriptionItem).values()];
    // Not empty: groupBy makes no empty groups.
    const { eventName, startMs } = longest[0] as MeteredLine;
    return { eventName, startMs, endMs, quantity: items.map(sumOf).reduce(greatest) };
  });
  return periods.sort((a, b) =>
    a.eventName < b.eventName ? -1 : a.eventName > b.eventName ? 1 : a.startMs - b.startMs,
  );
}

function sumOf(lines: readonly MeteredLine[]): bigint | undefined {
  return lines.reduce<bigint | undefined>(
    (sum, { quantity }) => (sum === undefined || quantity === undefined ? undefined : sum + quantity),
    0n,
  );
}

function greatest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return undefined;
  return a > b ? a : b;
}
