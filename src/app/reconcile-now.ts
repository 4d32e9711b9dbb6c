// A comparison on demand, from a process that need not be the leader.
import { type Apply, type Drift, decide, type Hindrance, type ReconcilePolicy } from "../domain/reconcile.ts";
import type { Interval } from "../domain/window.ts";
import { compareHours, HOUR_MS } from "./compare-hours.ts";
import { type LeaseHolderOptions, runWhileHeld } from "./hold-lease.ts";
import type {
  AskedHour,
  BookedDrift,
  Comparison,
  MeteredCustomer,
  MeterSummaries,
  ReconcileRequests,
  Reconciliation,
} from "./ports/reconciliation.ts";
import type { Reconcile } from "./reconcile.ts";
import type { TokenBucket } from "./token-bucket.ts";

/** A span in which Stripe counted something else than is believed. */
export interface FoundDrift extends MeteredCustomer, Interval, Drift {
  /** Why it is not repaired by itself; undefined: it is, or is sent again. */
  readonly hindrance: Hindrance | undefined;
}

export interface Findings {
  readonly drifts: readonly FoundDrift[];
  /** Customers' meters looked at, and spans of theirs, mostly hours, that could be compared. */
  readonly meters: number;
  readonly spans: number;
  /** Hours in which something has to settle first. */
  readonly waiting: number;
  /** Customers' meters that Stripe has no sums of. */
  readonly incomparable: readonly MeteredCustomer[];
}

export interface LookOptions {
  readonly book: Reconciliation;
  readonly requests: ReconcileRequests;
  readonly summaries: MeterSummaries;
  readonly rate: TokenBucket;
  readonly policy: Omit<ReconcilePolicy, "apply">;
  /** On the hour, and over. */
  readonly range: Interval;
  /** The service's id, or Stripe's; undefined: everybody. */
  readonly customerId: string | undefined;
  /** Also looked at for `customerId`, though nothing may have been reported. */
  readonly eventNames: readonly string[];
  readonly onProgress: (meters: number) => void;
}

/** Customers' meters at a time. */
const BATCH = 100;

/** Compares every hour of the range, hours without any report included. Writes nothing. Rejects when Stripe or Postgres cannot be read. */
export async function lookAtRange(options: LookOptions, signal: AbortSignal): Promise<Findings> {
  const { requests, range, customerId, eventNames, onProgress } = options;
  const all = { drifts: [] as FoundDrift[], meters: 0, spans: 0, waiting: 0, incomparable: [] as MeteredCustomer[] };
  let after: MeteredCustomer | undefined;
  do {
    const step = await requests.everyHour(range, customerId, eventNames, after, BATCH);
    for (const comparison of step.comparisons) {
      const found = await lookAt(comparison, step.readAtMs, options, signal);
      all.drifts.push(...found.drifts);
      all.incomparable.push(...found.incomparable);
      all.spans += found.spans;
      all.waiting += found.waiting;
      all.meters += 1;
      onProgress(all.meters);
    }
    after = step.next;
  } while (after !== undefined);
  return all;
}

async function lookAt(
  comparison: Comparison,
  readAtMs: number,
  { book, summaries, rate, policy }: LookOptions,
  signal: AbortSignal,
): Promise<Omit<Findings, "meters">> {
  const { stripeCustomerId, eventName } = comparison;
  const found = await compareHours(comparison, readAtMs, {
    summaries,
    turn: (until) => rate.take(until),
    signal,
    judge: (readings, apply) => book.look(comparison, readAtMs, readings, (view) => decide(view, { ...policy, apply })),
  });
  if (found === undefined) return { drifts: [], spans: 0, waiting: 0, incomparable: [{ stripeCustomerId, eventName }] };
  const drifts = found.judged.flatMap(({ startMs, endMs, verdict }): FoundDrift[] => {
    if (!("drift" in verdict) || verdict.kind === "invoiced") return [];
    const hindrance = verdict.kind === "open" ? verdict.hindrance : undefined;
    return [{ stripeCustomerId, eventName, startMs, endMs, ...verdict.drift, hindrance }];
  });
  const spans = found.judged.filter(({ verdict }) => verdict.kind !== "wait").length;
  return { drifts, spans, waiting: found.waiting.length, incomparable: [] };
}

export interface ApplyOptions {
  readonly requests: ReconcileRequests;
  readonly holder: LeaseHolderOptions;
  /** Does the work when nobody else leads. */
  readonly reconcile: Reconcile;
  readonly onProgress: (unanswered: number) => void;
}

/** Between looks whether all was answered. */
const POLL_MS = 250;

/**
 * Asks for what was found to be repaired, or written off, and resolves to the drifts that were booked once every request is answered;
 * undefined when `signal` aborted first, and the leader goes on with what was asked. Campaigns for the lease meanwhile, so that
 * the work is done even when no service runs. What was planned is sent by the flush.
 */
export async function applyTo(
  drifts: readonly FoundDrift[],
  apply: Apply,
  options: ApplyOptions,
  signal: AbortSignal,
): Promise<readonly BookedDrift[] | undefined> {
  const { requests, holder, reconcile, onProgress } = options;
  const hours = hoursOf(drifts);
  const sinceMs = await requests.ask(hours, apply);
  const done = new AbortController();
  const until = AbortSignal.any([signal, done.signal]);
  const leading = runWhileHeld(holder, until, (tenure) => reconcile.run(tenure, true));
  try {
    while (!signal.aborted) {
      const unanswered = await requests.unanswered(hours);
      if (unanswered === 0) return await requests.bookedSince(sinceMs, hours);
      onProgress(unanswered);
      await holder.clock.sleep(POLL_MS, signal);
    }
    return undefined;
  } finally {
    done.abort();
    await leading;
  }
}

function hoursOf(drifts: readonly FoundDrift[]): AskedHour[] {
  const hours = new Map<string, AskedHour>();
  for (const { stripeCustomerId, eventName, startMs, endMs } of drifts) {
    for (let hourMs = Math.floor(startMs / HOUR_MS) * HOUR_MS; hourMs < endMs; hourMs += HOUR_MS) {
      hours.set(JSON.stringify([stripeCustomerId, eventName, hourMs]), {
        stripeCustomerId,
        eventName,
        startMs: hourMs,
      });
    }
  }
  return [...hours.values()];
}
