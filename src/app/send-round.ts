// One round of sending: reports that are marked as being sent go to the sink, and come back with how each send ended.
import { giveBack, type SinkOutcome, settle } from "../domain/report.ts";
import type { Tenure } from "./hold-lease.ts";
import type { Clock } from "./ports/clock.ts";
import type { ClaimedReport, MeterSink, SettledReport } from "./ports/reports.ts";

/** Bounds of a round. */
export interface RoundLimits {
  /** Most requests in flight; where the sink is serial, never more than one for a customer and event name. */
  readonly concurrency: number;
  /** No request begins later than this after the round did. Keeps the time between mark and send far below the spare hour of the horizon. */
  readonly limitMs: number;
}

/** Reports per outcome; `not_sent` were given back. */
export type RoundCounts = Record<SinkOutcome["kind"] | "not_sent", number>;

export interface RoundResult {
  /** One for every report of the round. */
  readonly settled: readonly SettledReport[];
  readonly counts: RoundCounts;
}

/** Waits for its turn, so that requests keep to a rate. */
export type Turn = (signal: AbortSignal) => Promise<void>;

/** Reports of one request. */
type Batch = readonly ClaimedReport[];

/**
 * Sends what was claimed, tightest deadlines first, as the sink wants it: batches side by side, or, where it is serial, one after another
 * within a (customer, event name). After a throttled request no other begins in this round; after one of unknown fate none of the same
 * lane does, since it may still be under way. A request that is refused as a whole is sent again in halves, so that one report does not
 * condemn the others: of n reports at most 2n - 1 requests. What was not sent is given back. Never rejects, and holds nothing beyond the
 * reports given.
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
  const counts = noCounts();
  const untilMs = clock.monotonicMs() + limits.limitMs;
  const over = AbortSignal.any([tenure.stopping, tenure.signal]);
  const mayBegin = () => counts.throttled === 0 && clock.monotonicMs() < untilMs && tenure.mayBegin();

  const sendLane = async (lane: readonly Batch[]) => {
    const waiting = [...lane];
    let clear = true;
    for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) {
      if (clear && mayBegin()) await turn(over);
      // Asked again: the turn may have been long in coming.
      if (!clear || !mayBegin()) {
        counts.not_sent += batch.length;
        for (const report of batch) settled.push({ report, settlement: giveBack(report.before, report.attempts) });
        continue;
      }
      const answer = await sink.send(batch, tenure.signal);
      if (answer === "split" && batch.length > 1) {
        waiting.unshift(...halvesOf(batch));
        continue;
      }
      for (const [i, report] of batch.entries()) {
        const outcome = (answer !== "split" && answer[i]) || UNTOLD;
        counts[outcome.kind] += 1;
        settled.push({ report, settlement: settle(outcome, report.before, report.attempts) });
        clear &&= outcome.kind !== "throttled" && outcome.kind !== "unknown";
      }
    }
  };

  const lanes = lanesOf(claimed, sink);
  const sendLanes = async () => {
    for (let lane = lanes.next(); !lane.done; lane = lanes.next()) await sendLane(lane.value);
  };
  await Promise.all(Array.from({ length: limits.concurrency }, sendLanes));
  return { settled, counts };
}

const UNTOLD: SinkOutcome = { kind: "unknown", message: "the sink said nothing of this report" };

function noCounts(): RoundCounts {
  return { accepted: 0, taken: 0, duplicate: 0, refused: 0, conflict: 0, throttled: 0, unknown: 0, not_sent: 0 };
}

/**
 * What must be sent one after another, each lane in the order given, lanes in the order of their first report. Where nothing must, a lane
 * is one batch. Cancels always keep to their customer and event name.
 */
function lanesOf(claimed: readonly ClaimedReport[], sink: MeterSink): ArrayIterator<readonly Batch[]> {
  let free = 0;
  const lanes = Map.groupBy(claimed, (report) => {
    if (sink.serial || report.kind === "cancel") return JSON.stringify([report.stripeCustomerId, report.eventName]);
    return Math.floor(free++ / sink.batchMax);
  });
  return Array.from(lanes.values(), (lane) => batchesOf(lane, sink.batchMax)).values();
}

/** Requests of a lane: as many reports as one may hold, a cancel alone. */
function batchesOf(lane: readonly ClaimedReport[], batchMax: number): Batch[] {
  const batches: ClaimedReport[][] = [];
  for (const report of lane) {
    const last = batches.at(-1);
    const fits = last && last.length < batchMax && report.kind !== "cancel" && last[0]?.kind !== "cancel";
    if (fits) last.push(report);
    else batches.push([report]);
  }
  return batches;
}

function halvesOf(batch: Batch): [Batch, Batch] {
  const middle = Math.ceil(batch.length / 2);
  return [batch.slice(0, middle), batch.slice(middle)];
}
