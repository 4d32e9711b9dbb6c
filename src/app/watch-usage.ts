// StreamUsage: a snapshot, then changed totals, absolute and coalesced. A stream keeps no queue: it remembers the totals it last sent,
// looks at its feed when the customer's totals changed, at most once per update interval, and sends what differs. Snapshot and updates
// come from the very query that GetUsage uses, so the two agree at the same watermark (P6).
import { MeteringError } from "../domain/errors.ts";
import type { Interval } from "../domain/window.ts";
import type { ReadUsageDependencies } from "./get-usage.ts";
import type { FeedReading, UsageFeed } from "./usage-feed.ts";
import { feedKey, type UsageFeeds } from "./usage-feeds.ts";
import type { CallContext, WatchEvent, WatchRequest } from "./usage-request.ts";
import { WakeableSleep } from "./wakeable-sleep.ts";
import { changedTotals, sameInterval } from "./watched-totals.ts";

/** What a resume token carries: the client holds all totals of `interval` as of `version`. */
interface ResumePosition {
  readonly request: string;
  readonly interval: Interval;
  readonly version: string;
}

/** Events of one stream, until the signal aborts or the reader stops. Named periods are those of UTC. */
export async function* watchUsage(
  deps: ReadUsageDependencies,
  feeds: UsageFeeds,
  request: WatchRequest,
  context: CallContext,
): AsyncGenerator<WatchEvent, void, undefined> {
  const resumed = openResumeToken(deps, request);
  const { feed, close } = feeds.open(request);
  const pause = new WakeableSleep(deps.clock, context.signal);
  const unlisten = feed.listen(() => pause.wake());
  try {
    const reading = await feed.fresh();
    // Which totals changed since the token, or went with a voided record, is not known: so all go, in place of those that the client has.
    if (resumed?.version !== reading.version.toString() || !sameInterval(resumed.interval, reading.interval)) {
      const snapshot = { kind: "snapshot", interval: reading.interval, totals: reading.totals } as const;
      yield event(snapshot, reading, (r) => sealResumeToken(deps, request, r));
    }
    yield* follow(deps, feed, pause, request, reading, context.signal);
  } finally {
    unlisten();
    pause.close();
    close();
  }
}

/** What comes after the totals of `reading` are with the client. */
async function* follow(
  { tokens, clock }: ReadUsageDependencies,
  feed: UsageFeed,
  pause: WakeableSleep,
  request: WatchRequest,
  first: FeedReading,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent, void, undefined> {
  const seal = (r: FeedReading) => sealResumeToken({ tokens }, request, r);
  let reading = first;
  let sentMs = clock.monotonicMs();
  let lookedMs = Number.NEGATIVE_INFINITY;
  while (!signal.aborted) {
    await clock.sleep(Math.min(request.minUpdateIntervalMs, request.heartbeatIntervalMs), signal);
    const { version, interval } = reading;
    const heartbeatInMs = () => sentMs + request.heartbeatIntervalMs - clock.monotonicMs();
    // A billing period that ended and was not followed by another is looked at as often as a heartbeat is due, not at every turn.
    const rollOverInMs = Math.max(
      interval.endMs - clock.nowMs(),
      lookedMs + request.heartbeatIntervalMs - clock.nowMs(),
    );
    await pause.sleep(Math.min(heartbeatInMs(), rollOverInMs), () => feed.hasNews(version));
    if (signal.aborted) return;
    const heartbeatDue = heartbeatInMs() <= 0;
    if (clock.nowMs() >= interval.endMs) lookedMs = clock.nowMs();
    const next = await feed.current();
    const before = reading;
    // A reading on its way may be older than what was seen since. Versions never go back within a stream; totals do when a record is voided.
    if (next.version < before.version) continue;
    reading = { ...next, watermarkMs: Math.max(next.watermarkMs, before.watermarkMs) };
    const changed = changedTotals(before.totals, next.totals);
    if (!sameInterval(before.interval, next.interval)) {
      yield event({ kind: "snapshot", interval: next.interval, totals: next.totals }, reading, seal);
    } else if (changed.length > 0) yield event({ kind: "update", totals: changed }, reading, seal);
    else if (heartbeatDue) yield event({ kind: "heartbeat" }, reading, seal);
    else continue;
    sentMs = clock.monotonicMs();
  }
}

type EventBody = WatchEvent extends infer E
  ? E extends unknown
    ? Omit<E, "resumeToken" | "watermarkMs">
    : never
  : never;

function event(body: EventBody, reading: FeedReading, seal: (reading: FeedReading) => Uint8Array): WatchEvent {
  return { ...body, resumeToken: seal(reading), watermarkMs: reading.watermarkMs };
}

function openResumeToken(
  deps: Pick<ReadUsageDependencies, "tokens">,
  request: WatchRequest,
): ResumePosition | undefined {
  if (request.resumeToken.length === 0) return undefined;
  const token = Buffer.from(request.resumeToken).toString("utf8");
  const position = deps.tokens.open("resume", token, "resume_token") as ResumePosition;
  // The pace may change on a resume; what is watched may not.
  if (position.request === feedKey(request)) return position;
  const violations = [{ field: "resume_token", description: "belongs to a request with other fields" }];
  throw new MeteringError(
    { kind: "invalid_request", violations },
    "resume_token belongs to a request with other fields",
  );
}

function sealResumeToken(
  deps: Pick<ReadUsageDependencies, "tokens">,
  request: WatchRequest,
  reading: FeedReading,
): Uint8Array {
  const { interval, version } = reading;
  const position: ResumePosition = { request: feedKey(request), interval, version: version.toString() };
  return Buffer.from(deps.tokens.seal("resume", position), "utf8");
}
