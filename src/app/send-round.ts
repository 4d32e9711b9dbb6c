// One round of sending: reports that are marked as being sent go to the sink, and come back with how each send ended.
import { giveBack, type SinkOutcome, settle } from "../domain/report.ts";
import type { Tenure } from "./hold-lease.ts";
import type { Clock } from "./ports/clock.ts";
import type { ClaimedReport, MeterSink, SettledReport } from "./ports/reports.ts";

/** Bounds of a round. */
export interface RoundLimits {
  /** Most sends in flight; never more than one for a customer and event name. */
  readonly concurrency: number;
  /** No send begins later than this after the round did. Keeps the time between mark and send far below the spare hour of the horizon. */
  readonly limitMs: number;
}

/** Sends per outcome; `not_sent` were given back. */
export type RoundCounts = Record<SinkOutcome["kind"] | "not_sent", number>;

export interface RoundResult {
  /** One for every report of the round. */
  readonly settled: readonly SettledReport[];
  readonly counts: RoundCounts;
}

/** Waits for its turn, so that sends keep to a rate. */
export type Turn = (signal: AbortSignal) => Promise<void>;

/**
 * Sends what was claimed: one after another within a (customer, event name), as Stripe asks, side by side across them. After a send that
 * was throttled no other begins in this round; after one of unknown fate none of the same customer and event name does, since it may
 * still be under way. What was not sent is given back. Never rejects, and holds nothing beyond the reports given.
 */
export async function sendRound(
  claimed: readonly ClaimedReport[],
  sink: MeterSink,
  tenure: Tenure,
  turn: Turn,
  limits: RoundLimits,
  clock: Clock,
): Promise<RoundResult> {
  const settled: SettledReport[] = [];
  const counts: RoundCounts = {
    accepted: 0,
    duplicate: 0,
    refused: 0,
    conflict: 0,
    throttled: 0,
    unknown: 0,
    not_sent: 0,
  };
  const untilMs = clock.monotonicMs() + limits.limitMs;
  const over = AbortSignal.any([tenure.stopping, tenure.signal]);
  const mayBegin = () => counts.throttled === 0 && clock.monotonicMs() < untilMs && tenure.mayBegin();

  const sendLane = async (lane: readonly ClaimedReport[]) => {
    let clear = true;
    for (const report of lane) {
      if (clear && mayBegin()) await turn(over);
      // Asked again: the turn may have been long in coming.
      if (!clear || !mayBegin()) {
        counts.not_sent += 1;
        settled.push({ report, settlement: giveBack(report.before, report.attempts) });
        continue;
      }
      const outcome = await sink.send(report, tenure.signal);
      counts[outcome.kind] += 1;
      settled.push({ report, settlement: settle(outcome, report.before, report.attempts) });
      clear = outcome.kind !== "throttled" && outcome.kind !== "unknown";
    }
  };

  const lanes = lanesOf(claimed);
  const sendLanes = async () => {
    for (let lane = lanes.next(); !lane.done; lane = lanes.next()) await sendLane(lane.value);
  };
  await Promise.all(Array.from({ length: limits.concurrency }, sendLanes));
  return { settled, counts };
}

/** Reports by customer and event name, each lane in the order given, lanes in the order of their first report. */
function lanesOf(claimed: readonly ClaimedReport[]): ArrayIterator<ClaimedReport[]> {
  return Map.groupBy(claimed, (report) => JSON.stringify([report.stripeCustomerId, report.eventName])).values();
}
