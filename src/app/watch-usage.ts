// StreamUsage: a snapshot, then changed totals, absolute and coalesced. A stream keeps no queue: it remembers the totals it last sent,
// reads again when its customer's shard changed, at most once per update interval, and sends what differs. Snapshot and updates come
// from the very query that GetUsage uses, so the two agree at the same watermark (P6).
import { MeteringError } from "../domain/errors.ts";
import { shardOf } from "../domain/shard.ts";
import type { Interval } from "../domain/window.ts";
import { type ReadUsageDependencies, resolvePeriod, selectionOf, tokenMeters, toUsageTotal } from "./get-usage.ts";
import type { ShardVersions } from "./shard-versions.ts";
import type { CallContext, UsageTotal, WatchEvent, WatchRequest } from "./usage-request.ts";
import { changedTotals, sameInterval } from "./watched-totals.ts";

/** Most totals that a stream may carry; past it the caller must ask for less. */
export const WATCHED_TOTALS_MAX = 1_000;

/** What a resume token carries: the client holds all totals of `interval` as of `version`. */
interface ResumePosition {
  readonly request: string;
  readonly interval: Interval;
  readonly version: string;
}

interface Reading {
  readonly interval: Interval;
  readonly totals: readonly UsageTotal[];
  readonly version: bigint;
  readonly watermarkMs: number;
}

/** Events of one stream, until the signal aborts or the reader stops. Named periods are those of UTC. */
export async function* watchUsage(
  deps: ReadUsageDependencies,
  versions: ShardVersions,
  request: WatchRequest,
  context: CallContext,
): AsyncGenerator<WatchEvent, void, undefined> {
  const shard = shardOf(request.customerId, deps.shardCount);
  const resumed = openResumeToken(deps, request);
  let reading = await read(deps, request);
  const seal = (r: Reading) => sealResumeToken(deps, request, r);
  // Which totals changed since the token, or went with a voided record, is not known: so all go, in place of those that the client has.
  if (resumed?.version !== reading.version.toString() || !sameInterval(resumed.interval, reading.interval)) {
    yield event({ kind: "snapshot", interval: reading.interval, totals: reading.totals }, reading, seal);
  }
  let sentMs = deps.clock.monotonicMs();
  let lookedMs = Number.NEGATIVE_INFINITY;
  while (!context.signal.aborted) {
    const heartbeatInMs = sentMs + request.heartbeatIntervalMs - deps.clock.monotonicMs();
    await deps.clock.sleep(Math.min(request.minUpdateIntervalMs, Math.max(heartbeatInMs, 0)), context.signal);
    if (context.signal.aborted) return;
    const heartbeatDue = deps.clock.monotonicMs() - sentMs >= request.heartbeatIntervalMs;
    // A billing period that ended and was not followed by another is looked at as often as a heartbeat is due, not at every turn.
    const nowMs = deps.clock.nowMs();
    const periodOver = nowMs >= reading.interval.endMs && nowMs - lookedMs >= request.heartbeatIntervalMs;
    if (!heartbeatDue && !periodOver && (await versions.current(shard)) === reading.version) continue;
    const next = await read(deps, request);
    lookedMs = nowMs;
    const before = reading;
    // Another replica's snapshot may be older than ours. Versions never go back within a stream; totals do when a record is voided.
    if (next.version < before.version) continue;
    reading = { ...next, watermarkMs: Math.max(next.watermarkMs, before.watermarkMs) };
    const changed = changedTotals(before.totals, next.totals);
    if (!sameInterval(before.interval, next.interval)) {
      yield event({ kind: "snapshot", interval: next.interval, totals: next.totals }, reading, seal);
    } else if (changed.length > 0) yield event({ kind: "update", totals: changed }, reading, seal);
    else if (heartbeatDue) yield event({ kind: "heartbeat" }, reading, seal);
    else continue;
    sentMs = deps.clock.monotonicMs();
  }
}

type EventBody = WatchEvent extends infer E
  ? E extends unknown
    ? Omit<E, "resumeToken" | "watermarkMs">
    : never
  : never;

function event(body: EventBody, reading: Reading, seal: (reading: Reading) => Uint8Array): WatchEvent {
  return { ...body, resumeToken: seal(reading), watermarkMs: reading.watermarkMs };
}

async function read(deps: ReadUsageDependencies, request: WatchRequest): Promise<Reading> {
  const nowMs = deps.clock.nowMs();
  const account = await deps.reader.account(request.customerId, nowMs);
  const interval = resolvePeriod(request.over, account.billingPeriod, nowMs, "UTC");
  const reading = await deps.reader.usage({
    ...selectionOf(request),
    windows: [interval],
    tokenMeters: tokenMeters(deps.catalog),
    after: undefined,
    limit: WATCHED_TOTALS_MAX,
  });
  if (reading.more) {
    const description = `splits into more than ${WATCHED_TOTALS_MAX} totals; watch fewer dimensions, meters or one API key`;
    throw new MeteringError(
      { kind: "invalid_request", violations: [{ field: "group_by", description }] },
      `group_by: ${description}`,
    );
  }
  const totals = reading.totals.map((total) => toUsageTotal(total, [interval], request.groupByLabels));
  return { interval, totals, version: reading.version, watermarkMs: reading.watermarkMs };
}

function openResumeToken(deps: ReadUsageDependencies, request: WatchRequest): ResumePosition | undefined {
  if (request.resumeToken.length === 0) return undefined;
  const token = Buffer.from(request.resumeToken).toString("utf8");
  const position = deps.tokens.open("resume", token, "resume_token") as ResumePosition;
  if (position.request === fingerprint(request)) return position;
  const violations = [{ field: "resume_token", description: "belongs to a request with other fields" }];
  throw new MeteringError(
    { kind: "invalid_request", violations },
    "resume_token belongs to a request with other fields",
  );
}

function sealResumeToken(deps: ReadUsageDependencies, request: WatchRequest, reading: Reading): Uint8Array {
  const { interval, version } = reading;
  const position: ResumePosition = { request: fingerprint(request), interval, version: version.toString() };
  return Buffer.from(deps.tokens.seal("resume", position), "utf8");
}

/** The pace may change on a resume; what is watched may not. */
function fingerprint(request: WatchRequest): string {
  return JSON.stringify([selectionOf(request), request.over]);
}
