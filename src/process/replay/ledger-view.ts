// What the service says was counted, read by GetUsage alone.
import { REQUESTS_METER } from "../../domain/meter.ts";
import type { Interval } from "../../domain/window.ts";
import type { GetUsageResponse } from "../../rpc/client.ts";
import { forEachConcurrently } from "./concurrently.ts";
import { type PatientCaller, StandstillError, StandstillTimer } from "./patience.ts";
import { Sums } from "./sums.ts";

/** One customer's totals. */
interface Reading {
  readonly meters: ReadonlyMap<string, bigint>;
  readonly requests: bigint;
  /** Over all Stripe event names. */
  readonly unreported: bigint;
  readonly watermarkMs: number;
}

export interface LedgerViewOptions {
  readonly caller: PatientCaller;
  readonly customerIds: readonly string[];
  /** On quarter-hours; holds all that was sent. */
  readonly interval: Interval;
  /** Longest wait without any change. */
  readonly standstillMs: number;
}

/** Customers read at a time. */
const CONCURRENCY = 8;
const POLL_MS = 200;

/** Reads the customers of one replay. Rejects as PatientCaller does. */
export class LedgerView {
  readonly #options: LedgerViewOptions;
  readonly #readings = new Map<string, Reading>();

  constructor(options: LedgerViewOptions) {
    this.#options = options;
  }

  /**
   * Waits until everything that was acknowledged before `acknowledgedMs` is counted: until each customer's last record can be read by its
   * consistency token, and the watermark has passed. Throws StandstillError when nothing moves any more.
   */
  async waitUntilCounted(
    lastTokens: ReadonlyMap<string, string>,
    acknowledgedMs: number,
    onProgress: (customers: number) => void,
  ): Promise<void> {
    const isCounted = ({ watermarkMs }: Reading) => watermarkMs >= acknowledgedMs;
    await this.#readUntil(isCounted, onProgress, "the ledger", lastTokens);
  }

  /** Waits until Stripe has accepted everything. Throws StandstillError when nothing moves any more. */
  async waitUntilReported(onProgress: (customers: number) => void): Promise<void> {
    await this.#readUntil(({ unreported }) => unreported === 0n, onProgress, "the way to Stripe", new Map());
  }

  /** The sums as last read, per meter; records under "requests". */
  sums(): Sums {
    const sums = new Sums();
    for (const [customerId, { meters, requests }] of this.#readings) {
      for (const [meter, quantity] of meters) sums.add(customerId, meter, quantity);
      sums.add(customerId, REQUESTS_METER, requests);
    }
    return sums;
  }

  async #readUntil(
    isDone: (reading: Reading) => boolean,
    onProgress: (customers: number) => void,
    what: string,
    tokens: ReadonlyMap<string, string>,
  ): Promise<void> {
    const { customerIds, caller, standstillMs } = this.#options;
    const timer = new StandstillTimer(standstillMs, caller.clock);
    let open = customerIds;
    while (true) {
      const left: string[] = [];
      let done = customerIds.length - open.length;
      await forEachConcurrently(open, CONCURRENCY, async (customerId) => {
        const reading = await this.#read(customerId, tokens.get(customerId) ?? "");
        this.#readings.set(customerId, reading);
        if (isDone(reading)) done += 1;
        else left.push(customerId);
        onProgress(done);
      });
      if (left.length === 0) return;
      if (timer.standsStill(this.#stateOf(left)))
        throw new StandstillError(
          `${what} stood still for ${Math.round(standstillMs / 1000)} s, with ${left.length} of ${customerIds.length} customers to go`,
        );
      open = left;
      await caller.clock.sleep(POLL_MS);
    }
  }

  /** Changes whenever one of these customers' readings does. */
  #stateOf(customerIds: readonly string[]): string {
    const states = customerIds.map((customerId) => {
      const reading = this.#readings.get(customerId);
      return [customerId, String(reading?.requests), String(reading?.unreported)];
    });
    return JSON.stringify(states.sort());
  }

  async #read(customerId: string, consistencyToken: string): Promise<Reading> {
    const { interval, caller } = this.#options;
    const question = {
      customerId,
      over: {
        case: "interval",
        value: { startTime: timestamp(interval.startMs), endTime: timestamp(interval.endMs) },
      },
      consistencyToken,
    } as const;
    const meters = new Map<string, bigint>();
    // Counted by the service itself, and told beside the totals too.
    const measured = (page: GetUsageResponse) => page.totals.filter(({ meter }) => meter !== REQUESTS_METER);
    let first: GetUsageResponse | undefined;
    let pageToken = "";
    do {
      const asked = { ...question, pageToken };
      const page = await caller.call((client, timeoutMs) => client.getUsage(asked, timeoutMs));
      first ??= page;
      for (const { meter, quantity } of measured(page)) meters.set(meter, (meters.get(meter) ?? 0n) + quantity);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    const { requests, billing, watermarkTime } = first;
    const unreported = Object.values(billing?.unreported ?? {}).reduce((sum, quantity) => sum + quantity, 0n);
    const watermarkMs = Number(watermarkTime?.seconds ?? 0n) * 1000 + (watermarkTime?.nanos ?? 0) / 1e6;
    return { meters, requests, unreported, watermarkMs };
  }
}

function timestamp(timeMs: number): { seconds: bigint } {
  return { seconds: BigInt(timeMs / 1000) };
}
