// What Stripe takes a second, as documented. Whoever sends more is answered 429, which does no harm but costs time.
import type { SinkName } from "../app/ports/reports.ts";

/** Live mode: meter events have a limit of their own. The stream takes 200,000 where Stripe's sales agreed to it. */
const LIVE_EVENTS_PER_SECOND: Readonly<Record<SinkName, number>> = { v1: 1_000, stream: 10_000 };
/** A sandbox counts meter events, and requests of the stream, among all other calls. */
const SANDBOX_REQUESTS_PER_SECOND = 25;

/** Reads of summaries, a second: a fifth of all the calls that Stripe takes besides meter events, so that others have theirs. */
export function readsPerSecondMax(live: boolean): number {
  return live ? 20 : 5;
}

/** Most events a second through a sink of `batchMax` events a request, for live mode or a sandbox. */
export function eventsPerSecondMax(
  sink: { readonly name: SinkName; readonly batchMax: number },
  live: boolean,
): number {
  return live ? LIVE_EVENTS_PER_SECOND[sink.name] : SANDBOX_REQUESTS_PER_SECOND * sink.batchMax;
}
