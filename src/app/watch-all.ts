// StreamUsage over all customers, for operators: those that used most in the last quarter of an hour, with their totals. Each customer's
// totals come from the query that GetUsage uses; one is read again only when its shard changed. The list is short, so a stream is cheap
// however many customers there are.
import { MeteringError } from "../domain/errors.ts";
import { calendarPeriod } from "../domain/period.ts";
import { shardOf } from "../domain/shard.ts";
import type { Interval } from "../domain/window.ts";
import { type ReadUsageDependencies, tokenMeters, toUsageTotal } from "./get-usage.ts";
import type { Activity } from "./ports/ledger.ts";
import type { ShardVersions } from "./shard-versions.ts";
import type { SharedReading } from "./shared-reading.ts";
import type { CallContext, UsageTotal, WatchAllRequest, WatchEvent } from "./usage-request.ts";
import { changedTotals, sameInterval } from "./watched-totals.ts";

/** Most customers that a stream lists. */
export const LISTED_CUSTOMERS_MAX = 50;
/** All customers change all the time: a stream of them sends no oftener than this, whatever it asks for. */
export const UPDATE_INTERVAL_MIN_MS = 1_000;
/** Customers read at the same time by one stream. */
const READS_AT_ONCE = 5;

export interface WatchAllDependencies extends ReadUsageDependencies {
  readonly versions: ShardVersions;
  /** At most LISTED_CUSTOMERS_MAX. */
  readonly activity: SharedReading<Activity>;
}

interface CustomerReading {
  readonly version: bigint;
  readonly watermarkMs: number;
  readonly totals: readonly UsageTotal[];
}

interface Reading {
  readonly interval: Interval;
  /** Most active first. */
  readonly customers: ReadonlyMap<string, CustomerReading>;
  readonly watermarkMs: number;
}

/** Events of one stream, until the signal aborts or the reader stops. A change of who is listed is a snapshot. Periods are those of UTC. */
export async function* watchAll(
  deps: WatchAllDependencies,
  request: WatchAllRequest,
  context: CallContext,
): AsyncGenerator<WatchEvent, void, undefined> {
  const { clock } = deps;
  const resumeToken = resumeTokenOf(deps, request);
  let reading = await read(deps, request, undefined);
  yield { kind: "snapshot", ...snapshotOf(reading), resumeToken, watermarkMs: reading.watermarkMs };
  let sentMs = clock.monotonicMs();
  const pauseMs = Math.max(request.minUpdateIntervalMs, UPDATE_INTERVAL_MIN_MS);
  while (!context.signal.aborted) {
    const heartbeatInMs = sentMs + request.heartbeatIntervalMs - clock.monotonicMs();
    await clock.sleep(Math.min(pauseMs, Math.max(heartbeatInMs, 0)), context.signal);
    if (context.signal.aborted) return;
    const heartbeatDue = clock.monotonicMs() - sentMs >= request.heartbeatIntervalMs;
    const before = reading;
    const next = await read(deps, request, heartbeatDue ? undefined : before);
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

/** What has not changed since `known` is taken from there. A reading of another replica's that is older than the known one is not taken. */
async function read(
  deps: WatchAllDependencies,
  request: WatchAllRequest,
  known: Reading | undefined,
): Promise<Reading> {
  const interval = calendarPeriod(request.over, deps.clock.nowMs(), "UTC");
  const { customerIds, watermarkMs } = await deps.activity.current();
  const versions = await deps.versions.all();
  const usable = known !== undefined && sameInterval(known.interval, interval) ? known.customers : undefined;
  const readings = new Map<string, CustomerReading>();
  const waiting = [...customerIds];
  const readNext = async () => {
    for (let customerId = waiting.shift(); customerId !== undefined; customerId = waiting.shift()) {
      const last = usable?.get(customerId);
      const isCurrent = last !== undefined && last.version === versions[shardOf(customerId, deps.shardCount)];
      readings.set(customerId, isCurrent ? last : newer(last, await readCustomer(deps, request, interval, customerId)));
    }
  };
  await Promise.all(Array.from({ length: READS_AT_ONCE }, readNext));
  const customers = new Map(customerIds.map((id) => [id, readings.get(id) as CustomerReading]));
  const watermarks = [...customers.values()].map((one) => one.watermarkMs);
  return { interval, customers, watermarkMs: watermarks.length === 0 ? watermarkMs : Math.min(...watermarks) };
}

function newer(last: CustomerReading | undefined, next: CustomerReading): CustomerReading {
  return last !== undefined && last.version > next.version ? last : next;
}

async function readCustomer(
  deps: WatchAllDependencies,
  { meters }: WatchAllRequest,
  interval: Interval,
  customerId: string,
): Promise<CustomerReading> {
  const { totals, version, watermarkMs } = await deps.reader.usage({
    customerId,
    apiKeyId: undefined,
    models: [],
    meters,
    groupByApiKey: false,
    groupByModel: false,
    groupByLabels: [],
    windows: [interval],
    tokenMeters: tokenMeters(deps.catalog),
    after: undefined,
    // One a meter.
    limit: deps.catalog.meters.size + 1,
  });
  return {
    version,
    watermarkMs,
    totals: totals.map((total) => ({ ...toUsageTotal(total, [interval], []), customerId })),
  };
}

function totalsOf({ customers }: Reading): readonly UsageTotal[] {
  return [...customers.values()].flatMap(({ totals }) => totals);
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
