// StreamUsage over all customers, for operators: those that used most in the last quarter of an hour, with their totals. Each customer's
// totals are a feed's, so they come from the query that GetUsage uses, are read again only when they changed, and are shared by all
// operators' streams. The list is short, so a stream is cheap however many customers there are.
import { MeteringError } from "../domain/errors.ts";
import { calendarPeriod } from "../domain/period.ts";
import type { Interval } from "../domain/window.ts";
import type { ReadUsageDependencies } from "./get-usage.ts";
import type { Activity } from "./ports/ledger.ts";
import type { SharedReading } from "./shared-reading.ts";
import type { FeedReading } from "./usage-feed.ts";
import type { FeedLease, UsageFeeds } from "./usage-feeds.ts";
import type { CallContext, UsageTotal, WatchAllRequest, WatchEvent } from "./usage-request.ts";
import { changedTotals, sameInterval } from "./watched-totals.ts";

/** Most customers that a stream lists. */
export const LISTED_CUSTOMERS_MAX = 50;
/** All customers change all the time: a stream of them sends no oftener than this, whatever it asks for. */
const UPDATE_INTERVAL_MIN_MS = 1_000;

export interface WatchAllDependencies extends ReadUsageDependencies {
  readonly feeds: UsageFeeds;
  /** At most LISTED_CUSTOMERS_MAX. */
  readonly activity: SharedReading<Activity>;
}

interface Reading {
  readonly interval: Interval;
  /** Most active first. */
  readonly customers: ReadonlyMap<string, FeedReading>;
  readonly watermarkMs: number;
}

/** Events of one stream, until the signal aborts or the reader stops. A change of who is listed is a snapshot. Periods are those of UTC. */
export async function* watchAll(
  deps: WatchAllDependencies,
  request: WatchAllRequest,
  context: CallContext,
): AsyncGenerator<WatchEvent, void, undefined> {
  const resumeToken = resumeTokenOf(deps, request);
  const leases = new Map<string, FeedLease>();
  try {
    yield* follow(deps, leases, request, resumeToken, context.signal);
  } finally {
    for (const lease of leases.values()) lease.close();
  }
}

async function* follow(
  deps: WatchAllDependencies,
  leases: Map<string, FeedLease>,
  request: WatchAllRequest,
  resumeToken: Uint8Array,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent, void, undefined> {
  const { clock } = deps;
  let reading = await read(deps, leases, request);
  yield { kind: "snapshot", ...snapshotOf(reading), resumeToken, watermarkMs: reading.watermarkMs };
  let sentMs = clock.monotonicMs();
  const pauseMs = Math.max(request.minUpdateIntervalMs, UPDATE_INTERVAL_MIN_MS);
  while (!signal.aborted) {
    const heartbeatInMs = sentMs + request.heartbeatIntervalMs - clock.monotonicMs();
    await clock.sleep(Math.min(pauseMs, Math.max(heartbeatInMs, 0)), signal);
    if (signal.aborted) return;
    const heartbeatDue = clock.monotonicMs() - sentMs >= request.heartbeatIntervalMs;
    const before = reading;
    const next = await read(deps, leases, request);
    reading = { ...next, watermarkMs: Math.max(before.watermarkMs, next.watermarkMs) };
    const sent = { resumeToken, watermarkMs: reading.watermarkMs };
    const changed = changedTotals(totalsOf(before), totalsOf(next));
    if (!sameInterval(before.interval, next.interval) || !sameCustomers(before, next))
      yield { kind: "snapshot", ...snapshotOf(next), ...sent };
    else if (changed.length > 0) yield { kind: "update", totals: changed, ...sent };
    else if (heartbeatDue) yield { kind: "heartbeat", ...sent };
    else continue;
    sentMs = clock.monotonicMs();
  }
}

/** Leaves `leases` on the feeds of those who are listed. */
async function read(
  deps: WatchAllDependencies,
  leases: Map<string, FeedLease>,
  request: WatchAllRequest,
): Promise<Reading> {
  const { customerIds, watermarkMs } = await deps.activity.current();
  const listed = new Set(customerIds);
  for (const [id, lease] of leases) {
    if (listed.has(id)) continue;
    lease.close();
    leases.delete(id);
  }
  for (const id of customerIds) if (!leases.has(id)) leases.set(id, deps.feeds.open(feedRequest(request, id)));
  const readings = await Promise.all(
    customerIds.map(async (id) => [id, await leases.get(id)?.feed.current()] as const),
  );
  const interval = calendarPeriod(request.over, deps.clock.nowMs(), "UTC");
  const customers = new Map<string, FeedReading>();
  // One that was read right before midnight is of the day before: it comes with the next turn.
  for (const [id, one] of readings)
    if (one !== undefined && sameInterval(one.interval, interval)) customers.set(id, one);
  const watermarks = [...customers.values()].map((one) => one.watermarkMs);
  return { interval, customers, watermarkMs: watermarks.length === 0 ? watermarkMs : Math.min(...watermarks) };
}

function feedRequest({ over, meters }: WatchAllRequest, customerId: string) {
  const all = { apiKeyId: undefined, models: [], groupByApiKey: false, groupByModel: false, groupByLabels: [] };
  return { ...all, customerId, meters, over };
}

function totalsOf({ customers }: Reading): readonly UsageTotal[] {
  return [...customers].flatMap(([customerId, { totals }]) => totals.map((total) => ({ ...total, customerId })));
}

function snapshotOf(reading: Reading): { interval: Interval; totals: readonly UsageTotal[] } {
  return { interval: reading.interval, totals: totalsOf(reading) };
}

function sameCustomers({ customers: a }: Reading, { customers: b }: Reading): boolean {
  return a.size === b.size && [...a.keys()].every((id) => b.has(id));
}

/** Names the request only: who resumes gets a snapshot, since nobody knows who was listed meanwhile. */
function resumeTokenOf({ tokens }: WatchAllDependencies, request: WatchAllRequest): Uint8Array {
  const fingerprint = JSON.stringify(["all", request.over, request.meters]);
  if (request.resumeToken.length > 0) {
    const token = Buffer.from(request.resumeToken).toString("utf8");
    const { request: of } = tokens.open("resume", token, "resume_token") as { readonly request: string };
    if (of !== fingerprint) {
      const description = "belongs to a request with other fields";
      throw new MeteringError(
        { kind: "invalid_request", violations: [{ field: "resume_token", description }] },
        `resume_token ${description}`,
      );
    }
  }
  return Buffer.from(tokens.seal("resume", { request: fingerprint }), "utf8");
}
