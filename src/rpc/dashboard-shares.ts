// What the dashboards of one customer may take of a server: their tokens are in the hands of people outside, and one of them must keep nobody
// else from recording or reading.
import { Semaphore } from "../app/semaphore.ts";
import type { Caller } from "../domain/access.ts";

/** One part in so many of all streams of a server. */
const STREAM_PARTS = 20;
/** Most unary calls under way; more wait in line. A read that is slow holds one of the process's connections to Postgres. */
export const READS_AT_ONCE = 4;

type DashboardCaller = NonNullable<Caller["dashboard"]>;

interface Share {
  streams: number;
  /** Under way and in line. */
  reads: number;
  readonly turns: Semaphore;
}

/** Counts by whose page it is. Calls with access tokens, which backends hold, are bounded all together only. */
export class DashboardShares {
  readonly #streamsMax: number;
  readonly #shares = new Map<string, Share>();

  /** Of a server that holds at most `maxStreams`. */
  constructor(maxStreams: number) {
    this.#streamsMax = Math.ceil(maxStreams / STREAM_PARTS);
  }

  /** Runs a unary call of a dashboard's in its turn; settles as it does. */
  async read<T>({ customerId }: DashboardCaller, work: () => Promise<T>): Promise<T> {
    const share = this.#shareOf(customerId);
    share.reads += 1;
    try {
      return await share.turns.run(work);
    } finally {
      share.reads -= 1;
      this.#forgetIdle(customerId, share);
    }
  }

  /** Whether the caller may hold one more stream; if so, it is to be given back. */
  takeStream({ dashboard }: Caller): boolean {
    if (dashboard === undefined) return true;
    const share = this.#shareOf(dashboard.customerId);
    const mayHold = share.streams < this.#streamsMax;
    if (mayHold) share.streams += 1;
    this.#forgetIdle(dashboard.customerId, share);
    return mayHold;
  }

  giveStreamBack({ dashboard }: Caller): void {
    if (dashboard === undefined) return;
    const share = this.#shareOf(dashboard.customerId);
    share.streams -= 1;
    this.#forgetIdle(dashboard.customerId, share);
  }

  #shareOf(customerId: string): Share {
    const known = this.#shares.get(customerId);
    if (known !== undefined) return known;
    const share = { streams: 0, reads: 0, turns: new Semaphore(READS_AT_ONCE) };
    this.#shares.set(customerId, share);
    return share;
  }

  #forgetIdle(customerId: string, { streams, reads }: Share): void {
    if (streams === 0 && reads === 0) this.#shares.delete(customerId);
  }
}
