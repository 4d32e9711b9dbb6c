// What the stream scenarios say: an object for machines, lines for people. Medians over the rounds.
import { type Spread, spreadOf } from "../statistics.ts";
import type { CrowdRun } from "./crowd.ts";
import { type FeedRun, LIVE_MS } from "./feed.ts";
import type { StreamsMeasured } from "./streams.ts";

/** The JSON that is printed. */
export function toStreamsReport({ feeds, crowds }: StreamsMeasured): object {
  return {
    feeds: feeds.map(({ plan, runs }) => ({
      beside: plan.beside,
      streams: runs[0]?.streams,
      records_per_second: spreadOf(runs.map((run) => run.recordsPerSecond)),
      beside_per_second: spreadOf(runs.map((run) => run.besidePerSecond)),
      p50_ms: spreadOf(runs.map((run) => run.p50Ms)),
      p95_ms: spreadOf(runs.map((run) => run.p95Ms)),
      p99_ms: spreadOf(runs.map((run) => run.p99Ms)),
      share_within_250_ms: spreadOf(runs.map((run) => run.live)),
      ratio_to_read: spreadOf(runs.map(ratioOf)),
      read_p50_ms: spreadOf(runs.map((run) => run.readP50Ms)),
      load_average: spreadOf(runs.map((run) => run.loadAverage)),
    })),
    crowds: crowds.map(({ plan, runs }) => ({
      questions: plan.questions,
      streams: plan.streams,
      connections: runs[0]?.connections,
      kib_a_stream: spreadOf(runs.map(kibOf)),
      opened_ms: spreadOf(runs.map((run) => run.openedMs)),
      p50_ms: spreadOf(runs.map((run) => run.p50Ms)),
      last_ms: spreadOf(runs.map((run) => run.lastMs)),
      load_average: spreadOf(runs.map((run) => run.loadAverage)),
    })),
  };
}

/** A line a scenario. */
export function toStreamsLines({ feeds, crowds }: StreamsMeasured): string {
  const lines: string[] = [];
  for (const { plan, runs } of feeds) {
    const of = (read: (run: FeedRun) => number) => spreadOf(runs.map(read));
    const [live, ratio] = [of((run) => run.live * 100), of(ratioOf)];
    const beside = `${whole(of((run) => run.besidePerSecond))} others'`;
    lines.push(
      [
        `stream-feed: ${runs[0]?.streams} streams, ${whole(of((run) => run.recordsPerSecond))} records/s${plan.beside === "nothing" ? "" : ` beside ${beside}`}`,
        `p50 ${whole(of((run) => run.p50Ms))} ms, p95 ${whole(of((run) => run.p95Ms))} ms, p99 ${whole(of((run) => run.p99Ms))} ms`,
        `${live?.median.toFixed(1)} % (${live?.min.toFixed(1)}..${live?.max.toFixed(1)}) within ${LIVE_MS} ms`,
        `p50 ${ratio?.median.toFixed(2)} (${ratio?.min.toFixed(2)}..${ratio?.max.toFixed(2)}) of reading one's own write's ${whole(of((run) => run.readP50Ms))} ms`,
        `load average ${of((run) => run.loadAverage)?.median.toFixed(1)}`,
      ].join(", "),
    );
  }
  for (const { plan, runs } of crowds) {
    const of = (read: (run: CrowdRun) => number) => spreadOf(runs.map(read));
    lines.push(
      [
        `stream-crowd: ${plan.streams.toLocaleString("en-US")} streams of ${plan.questions} questions on ${runs[0]?.connections} connections`,
        `${of(kibOf)?.median.toFixed(1)} KiB a stream, all open after ${whole(of((run) => run.openedMs))} ms`,
        `a record on half of them after ${whole(of((run) => run.p50Ms))} ms, on the last after ${whole(of((run) => run.lastMs))} ms`,
        `load average ${of((run) => run.loadAverage)?.median.toFixed(1)}`,
      ].join(", "),
    );
  }
  return `${lines.join("\n")}\n`;
}

function ratioOf(run: FeedRun): number {
  return run.p50Ms / run.readP50Ms;
}

function kibOf(run: CrowdRun): number {
  return run.kibAStream ?? Number.NaN;
}

function whole(value: Spread | undefined): string {
  return value === undefined ? "" : Math.round(value.median).toLocaleString("en-US");
}
