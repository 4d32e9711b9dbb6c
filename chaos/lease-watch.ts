// Who leads, read from the lease's row again and again: one holder an epoch, and epochs only grow.
import { setTimeout as delay } from "node:timers/promises";
import type { Pool } from "../src/postgres/pool.ts";

const POLL_MS = 100;

/** The lease went to somebody. */
export interface Tenure {
  readonly epoch: bigint;
  readonly holder: string;
  /** When it was first seen. */
  readonly seenMs: number;
}

export class LeaseWatch {
  readonly tenures: Tenure[] = [];
  readonly #pool: Pool;
  readonly #onViolation: (message: string) => void;
  #leaderPid: number | undefined;
  #isStopping = false;
  #running: Promise<void> | undefined;

  constructor(pool: Pool, onViolation: (message: string) => void) {
    this.#pool = pool;
    this.#onViolation = onViolation;
  }

  /** Of whoever leads now, as last seen. */
  get leaderPid(): number | undefined {
    return this.#leaderPid;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      // The database may be away: then nobody can lead anew.
      await this.#look().catch(() => {});
      await delay(POLL_MS);
    }
  }

  async #look(): Promise<void> {
    const { rows } = await this.#pool.query<{ epoch: string; holder: string; held: boolean }>(
      "SELECT epoch, holder, expires_at > clock_timestamp() AS held FROM lease WHERE name = 'flush'",
    );
    const [row] = rows;
    if (row === undefined) return;
    const { holder, held } = row;
    const epoch = BigInt(row.epoch);
    // "<host> <pid>-<random>"
    this.#leaderPid = held && holder !== "" ? Number(/ (\d+)-/.exec(holder)?.[1]) : undefined;
    if (holder === "") return;
    const last = this.tenures.at(-1);
    if (last !== undefined && epoch < last.epoch) this.#onViolation(`epoch ${epoch} comes after ${last.epoch}`);
    if (last?.epoch === epoch && last.holder !== holder)
      this.#onViolation(`epoch ${epoch} belongs to ${last.holder} and to ${holder}`);
    if (last === undefined || epoch > last.epoch) this.tenures.push({ epoch, holder, seenMs: Date.now() });
  }
}
