// Tokens per second, out of a total that is looked at once a second.

/** How far back the plot goes. */
export const RATE_SAMPLES_MAX = 300;
/** Over so many samples a rate is taken: updates arrive in bursts. */
const SPAN_SAMPLES = 10;

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

  /** A total that went down belongs to a new period, or a record was voided: rates start again. */
  add(atMs: number, total: bigint): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && total < last.total) this.#samples = [];
    this.#samples.push({ atMs, total });
    if (this.#samples.length > SPAN_SAMPLES + 1) this.#samples.shift();
    const first = this.#samples[0];
    const spanMs = first === undefined ? 0 : atMs - first.atMs;
    // A difference of seconds fits a double; the total itself need not.
    const perSecond = first === undefined || spanMs <= 0 ? undefined : (Number(total - first.total) * 1000) / spanMs;
    this.points.push({ atMs, perSecond });
    if (this.points.length > RATE_SAMPLES_MAX) this.points.shift();
  }

  get now(): number | undefined {
    return this.points.at(-1)?.perSecond;
  }
}
