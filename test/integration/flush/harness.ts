// What the flush tests share: usage in the ledger, leaders over one database, and a sink that knows what it counted.
import { isDeepStrictEqual } from "node:util";
import { expect, onTestFinished, vi } from "vitest";
import { FLUSH_SETTINGS, Flush, type FlushObserver, type FlushSettings } from "../../../src/app/flush.ts";
import { LEASE_TIMING, type LeaseHolderOptions, type LeaseTiming, runWhileHeld } from "../../../src/app/hold-lease.ts";
import type { MeterSink, Reports, SinkName } from "../../../src/app/ports/reports.ts";
import type { LateUsagePolicy } from "../../../src/domain/late-usage.ts";
import type { Report, SinkOutcome } from "../../../src/domain/report.ts";
import { postgresFlushRequests } from "../../../src/postgres/flush-requests.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { testClock } from "../../support/clock.ts";

export const LEASE = "flush";
export const silent = { debug() {}, info() {}, warn() {}, error() {} };
export const unobserved: FlushObserver = { planned() {}, sent() {}, held() {}, backlog() {} };

/** A minute that is over. */
export const CLOSED_MS = Math.floor(Date.now() / 60_000) * 60_000 - 600_000;

export interface Usage {
  customerId: string;
  eventName?: string;
  windowStartMs?: number;
  windowMs?: number;
  quantity?: bigint;
}

/** Adds to pending windows, one statement an entry, as applies of one record each. */
export async function addUsage(pool: Pool, ...usage: Usage[]): Promise<void> {
  for (const {
    customerId,
    eventName = "tokens",
    windowStartMs = CLOSED_MS,
    windowMs = 60_000,
    quantity = 1n,
  } of usage) {
    await pool.query(
      `INSERT INTO pending_window AS p (customer_id, window_start, event_name, window_end, total) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (customer_id, window_start, event_name, payload) DO UPDATE SET total = p.total + excluded.total`,
      [customerId, new Date(windowStartMs), eventName, new Date(windowStartMs + windowMs), quantity],
    );
  }
}

/** Sums per "customer event" of what was recorded, and of what the ledger believes that the sink took. */
export async function ledgerSums(pool: Pool): Promise<{ total: Map<string, bigint>; accepted: Map<string, bigint> }> {
  const result = await pool.query<{ key: string; total: string; accepted: string }>(
    `SELECT customer_id || ' ' || event_name AS key, sum(total) AS total, sum(accepted) + coalesce((
       SELECT sum(value) FROM report r WHERE r.customer_id = p.customer_id AND r.event_name = p.event_name AND r.state = 'sent'), 0) AS accepted
     FROM pending_window p GROUP BY customer_id, event_name ORDER BY 1`,
  );
  const sums = (pick: "total" | "accepted") => new Map(result.rows.map((row) => [row.key, BigInt(row[pick])]));
  return { total: sums("total"), accepted: sums("accepted") };
}

export interface ReportRow {
  identifier: string;
  customer_id: string;
  state: string;
  reason: string;
  sink: string;
  attempts: number;
  value: string;
  first_attempt_at: Date | null;
  next_attempt_at: Date;
}

export async function reportRows(pool: Pool): Promise<ReportRow[]> {
  return (await pool.query<ReportRow>("SELECT * FROM report ORDER BY customer_id, event_name, window_start, sequence"))
    .rows;
}

/** What becomes of a request: an answer in the sink's stead (not processed), or its answer lost after processing; else nothing special. */
export type Fate = (report: Report, call: number) => Promise<SinkOutcome | "lost_after" | undefined>;

/**
 * Counts each identifier once, like Stripe, and watches that nobody sends side by side what must be sent one by one. As "stream" it takes
 * several reports a request, in any order, without a word on each; a fate is then asked about the first, and is that of all.
 */
export class CountingSink implements MeterSink {
  readonly name: SinkName;
  readonly batchMax: number;
  readonly serial: boolean;
  readonly counted = new Map<string, Report>();
  /** Identifiers in the order they came, repeats included. */
  readonly calls: string[] = [];
  inFlightMax = 0;
  /** What no sink may see: two sends of one lane at once, too many in a request, an identifier with another content. */
  readonly violations: string[] = [];
  readonly #inFlight = new Map<string, number>();
  readonly #fate: Fate;

  constructor(fate: Fate = async () => undefined, name: SinkName = "v1") {
    this.#fate = fate;
    this.name = name;
    this.serial = name === "v1";
    this.batchMax = name === "v1" ? 1 : 3;
  }

  async send(reports: readonly Report[], signal: AbortSignal): Promise<readonly SinkOutcome[]> {
    const [first] = reports;
    if (first === undefined || reports.length > this.batchMax)
      throw new Error(`a request of ${reports.length} reports`);
    const lane = this.serial ? `${first.stripeCustomerId} ${first.eventName}` : first.identifier;
    if (this.#inFlight.has(lane)) this.violations.push(`two sends of ${lane} at once`);
    this.#inFlight.set(lane, 1);
    this.inFlightMax = Math.max(this.inFlightMax, this.#inFlight.size);
    this.calls.push(...reports.map((report) => report.identifier));
    try {
      const fate = await this.#fate(first, this.calls.length);
      if (fate !== undefined && fate !== "lost_after") return reports.map(() => fate);
      const outcomes = reports.map((report) => this.#count(report));
      if (fate === "lost_after" || signal.aborted)
        return reports.map(() => ({ kind: "unknown", message: "the answer was lost" }));
      return outcomes;
    } finally {
      this.#inFlight.delete(lane);
    }
  }

  #count(report: Report): SinkOutcome {
    const known = this.counted.get(report.identifier);
    const frozen = frozenPart(report);
    if (known === undefined) this.counted.set(report.identifier, frozen);
    else if (!isDeepStrictEqual(known, frozen))
      this.violations.push(`${report.identifier} was sent with other content`);
    if (this.name === "stream") return { kind: "taken" };
    return { kind: known === undefined ? "accepted" : "duplicate" };
  }

  sums(): Map<string, bigint> {
    const sums = new Map<string, bigint>();
    for (const { customerId, eventName, value } of this.counted.values()) {
      const key = `${customerId} ${eventName}`;
      sums.set(key, (sums.get(key) ?? 0n) + value);
    }
    return new Map([...sums].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function frozenPart({ before: _, attempts: __, ...report }: Report & { before?: unknown; attempts?: unknown }): Report {
  return report;
}

export interface LeaderOptions {
  readonly sink: MeterSink;
  readonly settings?: Partial<FlushSettings>;
  readonly timing?: Partial<LeaseTiming>;
  readonly lateUsage?: LateUsagePolicy;
  /** Stands between the flush and its outbox, to crash where a test wants it. */
  readonly wrap?: (reports: Reports) => Reports;
  readonly observer?: FlushObserver;
}

export interface Leader {
  readonly flush: Flush;
  readonly holder: LeaseHolderOptions;
  /** Stops cleanly; resolves when the lease is free. */
  stop(): Promise<void>;
}

let leaders = 0;

/** The parts of a process that may lead. */
export function flushParts(
  pool: Pool,
  { sink, settings, timing, lateUsage = "current_period", wrap = (r) => r, observer = unobserved }: LeaderOptions,
) {
  const clock = testClock();
  const reports = wrap(postgresReports(pool, LEASE, sink.name));
  const requests = postgresFlushRequests(pool, LEASE);
  const flush = new Flush({
    reports,
    requests,
    sink,
    deploymentId: "test",
    lateUsage,
    settings: { ...FLUSH_SETTINGS, pollMs: 20, ...settings },
    clock,
    logger: silent,
    observer,
  });
  leaders += 1;
  const holder: LeaseHolderOptions = {
    lease: postgresLease(pool, LEASE),
    holder: `leader ${leaders}`,
    timing: { ...LEASE_TIMING, retryMs: 20, ...timing },
    clock,
    logger: silent,
  };
  return { reports, requests, flush, holder };
}

/** Starts a leader, as a replica of the service would; it ends with the test. */
export function startLeader(pool: Pool, options: LeaderOptions): Leader {
  const { flush, holder } = flushParts(pool, options);
  const stop = new AbortController();
  const running = runWhileHeld(holder, stop.signal, (tenure) => flush.run(tenure));
  const leader = {
    flush,
    holder,
    stop: () => {
      stop.abort();
      return running;
    },
  };
  onTestFinished(() => leader.stop());
  return leader;
}

/** The current holder seems dead: the lease may be taken, though nobody released it. */
export async function expireLease(pool: Pool): Promise<void> {
  await pool.query("UPDATE lease SET expires_at = clock_timestamp() - interval '1 ms'");
}

/** Waits until everything recorded is with the sink, as the ledger sees it, and checks that the sink counted just that. */
export async function everythingCountedOnce(pool: Pool, sink: CountingSink, timeoutMs = 20_000): Promise<void> {
  await vi.waitFor(async () => {
    const { total, accepted } = await ledgerSums(pool);
    expect(accepted).toEqual(total);
  }, timeoutMs);
  expect(sink.sums()).toEqual((await ledgerSums(pool)).total);
  expect(sink.violations).toEqual([]);
}
