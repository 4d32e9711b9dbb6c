// Tokens per second, out of a total that is looked at once a second.

/** How far back the plot goes. */
export const RATE_SAMPLES_MAX = 300;
/** Over so many samples a rate is taken: updates arrive in bursts. */
export const SPAN_SAMPLES = 10;

interface Sample {
  readonly atMs: number;
  readonly total: bigint;
}

export interface RatePoint {
  readonly atMs: number;
  /** Undefined while there is nothing to compare with. */
  readonly perSecond: number | undefined;
}

export class Rate {
  #samples: Sample[] = [];
  readonly points: RatePoint[] = [];

  /**
   * `total` is undefined while nobody can say what it is: a gap in the line, and rates start again after it, since what a gap brought was
   * not used in the second that told of it. So do they when a total went down: a new period began, or a record was voided.
   */
  add(atMs: number, total: bigint | undefined): void {
    const last = this.#samples.at(-1);
    if (total === undefined || (last !== undefined && total < last.total)) this.#samples = [];
    this.points.push({ atMs, perSecond: total === undefined ? undefined : this.#rate(atMs, total) });
    if (this.points.length > RATE_SAMPLES_MAX) this.points.shift();
  }

  get now(): number | undefined {
    return this.points.at(-1)?.perSecond;
  }

  #rate(atMs: number, total: bigint): number | undefined {
    this.#samples.push({ atMs, total });
    if (this.#samples.length > SPAN_SAMPLES + 1) this.#samples.shift();
    const first = this.#samples[0];
    const spanMs = first === undefined ? 0 : atMs - first.atMs;
    // The difference is taken before it becomes a double: the total itself may not fit one.
    return first === undefined || spanMs <= 0 ? undefined : (Number(total - first.total) * 1000) / spanMs;
  }
}
