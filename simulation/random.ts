// Chance, from a seed: each part of the simulation draws from a stream of its own, so that a change of one leaves the others as they were.
import { type RandomSource, seededRandom } from "../src/stripe-simulator/state/random.ts";

export class Random {
  readonly #next: RandomSource;

  /** `stream` names what is drawn. */
  constructor(seed: number, stream: string) {
    this.#next = seededRandom(`${seed} ${stream}`);
  }

  /** 0 <= x < 1. */
  unit(): number {
    return this.#next();
  }

  /** A whole number, both ends included. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1));
  }

  chance(share: number): boolean {
    return this.#next() < share;
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    const picked = list[this.whole(0, list.length - 1)];
    if (picked === undefined) throw new RangeError("nothing to pick from");
    return picked;
  }

  /** Between `least` and `most`, as likely in each power of ten: for rates and delays. */
  spread(least: number, most: number): number {
    return least * (most / least) ** this.#next();
  }
}
