// How many streams the dashboards of one customer may hold: their tokens are in the hands of people outside, and one of them must not take
// the place of all others.
import type { Caller } from "../domain/access.ts";

/** One part in so many of all streams of a server. */
const PARTS = 20;

/** Counts the streams of dashboards, by whose page it is. Those of access tokens, which backends hold, are bounded all together only. */
export class StreamShares {
  readonly #max: number;
  readonly #held = new Map<string, number>();

  /** Of a server that holds at most `maxStreams`. */
  constructor(maxStreams: number) {
    this.#max = Math.ceil(maxStreams / PARTS);
  }

  /** Whether the caller may hold one more; if so, it is to be given back. */
  take({ dashboard }: Caller): boolean {
    if (dashboard === undefined) return true;
    const held = this.#held.get(dashboard.customerId) ?? 0;
    if (held >= this.#max) return false;
    this.#held.set(dashboard.customerId, held + 1);
    return true;
  }

  giveBack({ dashboard }: Caller): void {
    if (dashboard === undefined) return;
    const held = this.#held.get(dashboard.customerId) ?? 0;
    if (held > 1) this.#held.set(dashboard.customerId, held - 1);
    else this.#held.delete(dashboard.customerId);
  }
}
