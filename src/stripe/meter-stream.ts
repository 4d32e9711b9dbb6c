// Reports as events of Stripe's v2 meter event stream: a hundred a request, taken without a check. What becomes of them, only the
// summaries tell (and error reports, which may be late, and hold samples).
import type Stripe from "stripe";
import type { Clock } from "../app/ports/clock.ts";
import type { MeterSink } from "../app/ports/reports.ts";
import type { Report, SinkOutcome } from "../domain/report.ts";
import { cancelEvent } from "./adjustments.ts";
import { eventPayload } from "./event-payload.ts";
import { isSessionRefused, messageOf, outcomeOfError } from "./outcome.ts";
import { type StreamSession, StreamSessions } from "./stream-session.ts";
import { within } from "./within.ts";

/** Stripe takes no more events in one request. */
const BATCH_MAX = 100;

type Answer = object & { readonly lastResponse: { readonly statusCode: number } };

/**
 * The sink "stream". A request takes at most `limitMs` in all; past it, and on abort, all its reports are "unknown". Where no session can
 * be opened, nothing was sent: "throttled". A session that Stripe takes for expired is replaced, and what was sent with it "throttled",
 * since Stripe looks at the token first.
 */
export function stripeMeterStream(stripe: Stripe, clock: Clock, limitMs: number): MeterSink {
  const sessions = new StreamSessions(stripe, clock);
  return {
    name: "stream",
    batchMax: BATCH_MAX,
    serial: false,
    async send(reports, signal) {
      const all = (outcome: SinkOutcome) => reports.map(() => outcome);
      if (signal.aborted) return all({ kind: "unknown", message: "aborted before it was sent" });
      const inTime = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
      const [first] = reports;
      if (first?.kind === "cancel") return [await cancelEvent(stripe, first, inTime)];
      let session: StreamSession;
      try {
        session = await within(sessions.current(), inTime);
      } catch (error) {
        return all({ kind: "throttled", message: `no session of the stream: ${messageOf(error)}` });
      }
      try {
        return all(outcomeOfAnswer(await within(stream(stripe, session, reports), inTime)));
      } catch (error) {
        if (isSessionRefused(error)) sessions.drop(session);
        const outcome = outcomeOfError(error, "stream");
        // Which of them is at fault is not told.
        const isAboutSome = outcome.kind === "refused" || outcome.kind === "duplicate";
        return isAboutSome && reports.length > 1 ? "split" : all(outcome);
      }
    },
  };
}

/** The idempotency key is the SDK's, a new one each time: a batch is never sent twice as it was, its events have their identifiers. */
async function stream(stripe: Stripe, session: StreamSession, reports: readonly Report[]): Promise<Answer> {
  const events = reports.map((report) => ({
    event_name: report.eventName,
    identifier: report.identifier,
    timestamp: new Date(report.timestampMs).toISOString(),
    payload: eventPayload(report),
  }));
  // Declared as nothing; it is the answer's body, which is empty.
  return (await stripe.v2.billing.meterEventStream.create({ events }, { apiKey: session.token })) as unknown as Answer;
}

/** The SDK takes any JSON without an "error" for a success, whatever its status. What a 200 holds is not looked at: it proves nothing. */
function outcomeOfAnswer({ lastResponse: { statusCode } }: Answer): SinkOutcome {
  if (statusCode === 200) return { kind: "taken" };
  return { kind: "unknown", message: `HTTP ${statusCode} without an error` };
}
