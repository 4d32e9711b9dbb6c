// GetUsage: what was used over a period, how it splits, and how far it has come on its way to the invoice.

import { compareEntryIds } from "../domain/entry-id.ts";
import { MeteringError } from "../domain/errors.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import { calendarPeriod, cutIntoWindows } from "../domain/period.ts";
import { shardOf } from "../domain/shard.ts";
import type { Interval } from "../domain/window.ts";
import type { OpaqueTokens } from "./opaque-tokens.ts";
import type { Clock } from "./ports/clock.ts";
import type { Total, TotalKey, UsageReader } from "./ports/ledger.ts";
import type { CallContext, UsageAnswer, UsageRequest, UsageSelection, UsageTotal } from "./usage-request.ts";

/** Most windows that one request may cut its interval into: a month of quarter-hours. */
const WINDOWS_MAX = 3_000;
/** How often a waiting reader looks whether its own write has arrived. */
const CONSISTENCY_POLL_MS = 20;

export interface ReadUsageDependencies {
  readonly reader: UsageReader;
  readonly tokens: OpaqueTokens;
  readonly catalog: MeterCatalog;
  readonly clock: Clock;
  readonly shardCount: number;
}

/** What a page token carries. */
interface PagePosition {
  readonly request: string;
  readonly interval: Interval;
  readonly after: TotalKey;
}

/** One page of totals. See UsageRequest for the bounds, which the edge has checked. */
export async function getUsage(
  deps: ReadUsageDependencies,
  request: UsageRequest,
  context: CallContext,
): Promise<UsageAnswer> {
  const page = request.pageToken === "" ? undefined : openPage(deps.tokens, request);
  if (request.consistencyToken !== "") await waitUntilCounted(deps, request, context.signal);
  const nowMs = deps.clock.nowMs();
  const account = await deps.reader.account(request.customerId, nowMs);
  const interval = page?.interval ?? resolvePeriod(request.over, account.billingPeriod, nowMs, request.timeZone);
  const windows = cutIntoWindows(interval, request.windowSize, request.timeZone, WINDOWS_MAX);
  if (windows === undefined) {
    throw invalid("window_size", `cuts the interval into more than ${WINDOWS_MAX} windows; ask for a shorter interval`);
  }
  const query = {
    ...selectionOf(request),
    windows,
    tokenMeters: tokenMeters(deps.catalog),
    after: page?.after,
    limit: request.pageSize,
  };
  const [reading, billing] = await Promise.all([
    deps.reader.usage(query),
    page === undefined ? deps.reader.billing(request.customerId, interval) : undefined,
  ]);
  const last = reading.totals.at(-1);
  const next: PagePosition | undefined =
    reading.more && last !== undefined ? { request: fingerprint(request), interval, after: keyOf(last) } : undefined;
  return {
    interval,
    tokensUsed: reading.tokensUsed,
    requests: reading.requests,
    totals: reading.totals.map((total) => toUsageTotal(total, windows, request.groupByLabels)),
    nextPageToken: next === undefined ? "" : deps.tokens.seal("page", next),
    billing: billing && { subscriptionStatus: account.subscriptionStatus, entitled: account.entitled, ...billing },
    watermarkMs: reading.watermarkMs,
  };
}

/** The interval of a named period, or the interval itself. A billing period without a subscription is the calendar month. */
export function resolvePeriod(
  over: UsageRequest["over"],
  billingPeriod: Interval | undefined,
  nowMs: number,
  timeZone: string,
): Interval {
  switch (over) {
    case "default":
    case "billing_period":
      return billingPeriod ?? calendarPeriod("current_month", nowMs, timeZone);
    case "current_month":
    case "today":
      return calendarPeriod(over, nowMs, timeZone);
    default:
      return over;
  }
}

/** The fields that filter and split, without what is only GetUsage's. */
export function selectionOf(request: UsageSelection): UsageSelection {
  const { customerId, apiKeyId, models, meters, groupByApiKey, groupByModel, groupByLabels } = request;
  return { customerId, apiKeyId, models, meters, groupByApiKey, groupByModel, groupByLabels };
}

export function tokenMeters(catalog: MeterCatalog): readonly string[] {
  return [...catalog.meters.values()].filter((m) => m.unit === "token").map((m) => m.name);
}

export function toUsageTotal(total: Total, windows: readonly Interval[], labelKeys: readonly string[]): UsageTotal {
  const window = windows[total.windowIndex];
  if (window === undefined) throw new Error(`total of window ${total.windowIndex}, of ${windows.length}`);
  const { meter, apiKeyId, model, quantity, recordCount } = total;
  const labels = labelKeys.map((key, i) => [key, total.labelValues[i] ?? ""] as const);
  return { customerId: "", window, meter, apiKeyId, model, labels, quantity, recordCount };
}

/** Waits until the record of a consistency token is in the ledger. */
async function waitUntilCounted(
  deps: ReadUsageDependencies,
  request: UsageRequest,
  signal: AbortSignal,
): Promise<void> {
  const token = deps.tokens.open("consistency", request.consistencyToken, "consistency_token");
  const [shard, epoch, entryId] = token as [number, string, string];
  if (epoch === "") return; // Postgres intake: counted before it was acknowledged.
  if (shard !== shardOf(request.customerId, deps.shardCount)) {
    throw invalid("consistency_token", "belongs to another customer's record");
  }
  while (true) {
    const at = await deps.reader.cursor(shard, epoch);
    if (at.epoch === epoch && compareEntryIds(at.cursor, entryId) >= 0) return;
    if (at.epochLost) {
      throw new MeteringError(
        { kind: "token_expired" },
        "the buffer was lost since this consistency_token was given out",
      );
    }
    if (signal.aborted) {
      throw new MeteringError(
        { kind: "deadline_exceeded" },
        "the record is not counted yet; ask again with a longer deadline",
      );
    }
    await deps.clock.sleep(CONSISTENCY_POLL_MS, signal);
  }
}

/** Opens a page token; refuses one of another request. */
function openPage(tokens: OpaqueTokens, request: UsageRequest): PagePosition {
  const page = tokens.open("page", request.pageToken, "page_token") as PagePosition;
  if (page.request !== fingerprint(request)) {
    throw invalid("page_token", "belongs to a request with other fields; only page_size may change between pages");
  }
  return page;
}

function fingerprint(request: UsageRequest): string {
  return JSON.stringify([selectionOf(request), request.over, request.timeZone, request.windowSize]);
}

function keyOf(total: Total): TotalKey {
  const { windowIndex, meter, apiKeyId, model, labelValues } = total;
  return { windowIndex, meter, apiKeyId, model, labelValues };
}

function invalid(field: string, description: string): MeteringError {
  return new MeteringError(
    { kind: "invalid_request", violations: [{ field, description }] },
    `${field}: ${description}`,
  );
}
