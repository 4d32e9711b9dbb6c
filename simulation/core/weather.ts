// What goes wrong between two actions, drawn from the seed: how often, per store.
import { Random } from "../random.ts";

/** What may become of one call. Each is a share of calls; the rest go well. */
export interface FaultRates {
  /** The request is lost: nothing is done, and the caller hears so, late. */
  readonly lostBefore: number;
  /** Done, and the answer is lost. */
  readonly lostAfter: number;
  /** The caller has given up; then it is done after all. */
  readonly doneLate: number;
  /** Done twice. */
  readonly repeated: number;
  /** Done, and answered long after. */
  readonly slow: number;
}

export const NO_FAULTS: FaultRates = { lostBefore: 0, lostAfter: 0, doneLate: 0, repeated: 0, slow: 0 };

export type StoreName = "api" | "redis" | "postgres" | "stripe";

/** Rates of one world; nothing goes wrong any more once it is calm. */
export class Weather {
  readonly #rates: Readonly<Record<StoreName, FaultRates>>;
  #calm = false;

  constructor(seed: number) {
    const random = new Random(seed, "weather");
    const rates = (most: number): FaultRates => {
      const some = () => (random.chance(0.5) ? 0 : random.spread(0.001, most));
      return { lostBefore: some(), lostAfter: some(), doneLate: some(), repeated: some(), slow: some() };
    };
    this.#rates = { api: rates(0.2), redis: rates(0.1), postgres: rates(0.1), stripe: rates(0.2) };
  }

  get isCalm(): boolean {
    return this.#calm;
  }

  clearUp(): void {
    this.#calm = true;
  }

  of(store: StoreName): FaultRates {
    return this.#calm ? NO_FAULTS : this.#rates[store];
  }
}
