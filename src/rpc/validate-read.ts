// GetUsage and StreamUsage requests from the wire to the domain, with every violation named at once.
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import type { GetUsageRequest, StreamUsageRequest } from "../../gen/metering/v1/metering_service_pb.ts";
import {
  type Interval as SentInterval,
  NamedPeriod as SentPeriod,
  WindowSize as SentWindowSize,
  UsageDimension,
} from "../../gen/metering/v1/usage_pb.ts";
import type { UsageRequest, WatchAllRequest, WatchRequest } from "../app/usage-request.ts";
import { MeteringError } from "../domain/errors.ts";
import { type MeterCatalog, REQUESTS_METER } from "../domain/meter.ts";
import { isTimeZone, type NamedPeriod, type WindowSize } from "../domain/period.ts";
import { compareText } from "../domain/usage-record.ts";
import { DAY_MS, type Interval, MINUTE_MS, QUARTER_HOUR_MS } from "../domain/window.ts";
import { ID_MAX, textProblem } from "./text-bounds.ts";
import { Violations } from "./violations.ts";

/** The scope that reading every customer at once needs. */
const READ_ALL_SCOPE = "usage.read_all";

const INTERVAL_MAX_MS = 400 * DAY_MS;
const FILTER_MAX = 100;
const TIME_ZONE_MAX = 64;
const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;
/** Tokens carry the values of the dimensions asked for, so they are long where those are. */
const TOKEN_MAX_BYTES = 32_768;
const UPDATE_INTERVAL = { minMs: 50, maxMs: MINUTE_MS, defaultMs: 100 };
const HEARTBEAT_INTERVAL = { minMs: 1000, maxMs: MINUTE_MS, defaultMs: 15_000 };
/** 9999-12-31T23:59:59Z, the last second of a protobuf Timestamp. */
const TIMESTAMP_MAX_S = 253_402_300_799n;

const PERIODS: ReadonlyMap<number, NamedPeriod | "default"> = new Map([
  [SentPeriod.UNSPECIFIED, "default"],
  [SentPeriod.BILLING_PERIOD, "billing_period"],
  [SentPeriod.CURRENT_MONTH, "current_month"],
  [SentPeriod.TODAY, "today"],
]);

const WINDOW_SIZES: ReadonlyMap<number, WindowSize> = new Map([
  [SentWindowSize.UNSPECIFIED, "all"],
  [SentWindowSize.QUARTER_HOUR, "quarter_hour"],
  [SentWindowSize.HOUR, "hour"],
  [SentWindowSize.DAY, "day"],
  [SentWindowSize.MONTH, "month"],
]);

/** Makes domain requests of sent ones. Throws `invalid_request` with all violations. */
export class ReadValidator {
  readonly #catalog: MeterCatalog;

  constructor(catalog: MeterCatalog) {
    this.#catalog = catalog;
  }

  usage(sent: GetUsageRequest): UsageRequest {
    const found = new Violations();
    checkText(found, "customer_id", sent.customerId, 1);
    checkText(found, "api_key_id", sent.apiKeyId, 0);
    checkTokenLength(found, "consistency_token", sent.consistencyToken.length);
    checkTokenLength(found, "page_token", sent.pageToken.length);
    const request: UsageRequest = {
      customerId: sent.customerId,
      apiKeyId: sent.apiKeyId === "" ? undefined : sent.apiKeyId,
      over: overOf(found, sent.over),
      timeZone: timeZoneOf(found, sent.timeZone),
      models: modelsOf(found, sent.models),
      meters: this.#metersOf(found, sent.meters),
      windowSize: known(found, "window_size", WINDOW_SIZES.get(sent.windowSize), "all"),
      ...dimensionsOf(found, sent.groupBy),
      groupByLabels: this.#labelKeysOf(found, sent.groupByLabels),
      consistencyToken: sent.consistencyToken,
      pageSize: pageSizeOf(found, sent.pageSize),
      pageToken: sent.pageToken,
    };
    throwAny(found);
    return request;
  }

  watch(sent: StreamUsageRequest): WatchRequest {
    const found = new Violations();
    checkText(found, "customer_id", sent.customerId, 1);
    checkText(found, "api_key_id", sent.apiKeyId, 0);
    checkTokenLength(found, "resume_token", sent.resumeToken.length);
    const request: WatchRequest = {
      customerId: sent.customerId,
      apiKeyId: sent.apiKeyId === "" ? undefined : sent.apiKeyId,
      over: known(found, "period", PERIODS.get(sent.period), "default"),
      models: [],
      meters: this.#metersOf(found, sent.meters),
      ...dimensionsOf(found, sent.groupBy),
      groupByLabels: [],
      resumeToken: sent.resumeToken,
      minUpdateIntervalMs: durationOf(found, "min_update_interval", sent.minUpdateInterval, UPDATE_INTERVAL),
      heartbeatIntervalMs: durationOf(found, "heartbeat_interval", sent.heartbeatInterval, HEARTBEAT_INTERVAL),
    };
    throwAny(found);
    return request;
  }

  /**
   * A request that names no customer. Throws `scope_missing` first where the caller may not read all of them: who may not ask is not told
   * what is wrong with the question.
   */
  watchAll(sent: StreamUsageRequest, mayReadAll: boolean): WatchAllRequest {
    if (!mayReadAll) {
      const failure = { kind: "scope_missing", scope: READ_ALL_SCOPE } as const;
      throw new MeteringError(failure, `customer_id is required without the scope ${READ_ALL_SCOPE}`);
    }
    const found = new Violations();
    if (sent.apiKeyId !== "") found.add("invalid_request", "api_key_id", "must be empty where no customer is named");
    if (sent.groupBy.length > 0) found.add("invalid_request", "group_by", "must be empty where no customer is named");
    checkTokenLength(found, "resume_token", sent.resumeToken.length);
    const over = known(found, "period", PERIODS.get(sent.period), "default");
    if (over === "billing_period")
      found.add("invalid_request", "period", "must be a calendar's where no customer is named: billing periods differ");
    const request: WatchAllRequest = {
      over: over === "today" ? "today" : "current_month",
      meters: this.#metersOf(found, sent.meters),
      resumeToken: sent.resumeToken,
      minUpdateIntervalMs: durationOf(found, "min_update_interval", sent.minUpdateInterval, UPDATE_INTERVAL),
      heartbeatIntervalMs: durationOf(found, "heartbeat_interval", sent.heartbeatInterval, HEARTBEAT_INTERVAL),
    };
    throwAny(found);
    return request;
  }

  #metersOf(found: Violations, sent: readonly string[]): readonly string[] {
    if (!fits(found, "meters", sent)) return [];
    for (const [i, meter] of sent.entries()) {
      if (meter === REQUESTS_METER || this.#catalog.meters.has(meter)) continue;
      found.add("unknown_meter", `meters[${i}]`, `must be a configured meter or "${REQUESTS_METER}"`);
    }
    return distinct(sent);
  }

  #labelKeysOf(found: Violations, sent: readonly string[]): readonly string[] {
    if (!fits(found, "group_by_labels", sent)) return [];
    for (const [i, key] of sent.entries()) {
      const field = `group_by_labels[${i}]`;
      if (!this.#catalog.rollupLabels.includes(key))
        found.add("invalid_request", field, "must be a label that is configured to be kept");
      else if (sent.indexOf(key) < i) found.add("invalid_request", field, "must occur only once");
    }
    return [...sent];
  }
}

function throwAny(found: Violations): void {
  const error = found.toError();
  if (error !== undefined) throw error;
}

function checkText(found: Violations, field: string, text: string, min: 0 | 1): void {
  const problem = textProblem(text, min, ID_MAX);
  if (problem !== undefined) found.add("invalid_request", field, problem);
}

function checkTokenLength(found: Violations, field: string, length: number): void {
  if (length > TOKEN_MAX_BYTES) found.add("invalid_request", field, "is not a token of this service");
}

/** Whether a filter's list is within bounds; its entries are only looked at then. */
function fits(found: Violations, field: string, list: readonly string[]): boolean {
  if (list.length <= FILTER_MAX) return true;
  found.add("invalid_request", field, `must be at most ${FILTER_MAX}`);
  return false;
}

function distinct(list: readonly string[]): readonly string[] {
  return [...new Set(list)].sort(compareText);
}

function known<T>(found: Violations, field: string, value: T | undefined, otherwise: T): T {
  if (value === undefined) found.add("invalid_request", field, "must be a value that this service knows");
  return value ?? otherwise;
}

function modelsOf(found: Violations, sent: readonly string[]): readonly string[] {
  if (!fits(found, "models", sent)) return [];
  for (const [i, model] of sent.entries()) checkText(found, `models[${i}]`, model, 0);
  return distinct(sent);
}

function dimensionsOf(
  found: Violations,
  sent: readonly number[],
): { readonly groupByApiKey: boolean; readonly groupByModel: boolean } {
  // Two values are valid; what follows a third cannot be anything new.
  for (const [i, dimension] of sent.slice(0, 3).entries()) {
    const valid = dimension === UsageDimension.API_KEY || dimension === UsageDimension.MODEL;
    if (!valid) found.add("invalid_request", `group_by[${i}]`, "must be a dimension that this service knows");
    else if (sent.indexOf(dimension) < i) found.add("invalid_request", `group_by[${i}]`, "must occur only once");
  }
  return { groupByApiKey: sent.includes(UsageDimension.API_KEY), groupByModel: sent.includes(UsageDimension.MODEL) };
}

function timeZoneOf(found: Violations, sent: string): string {
  if (sent === "") return "UTC";
  if (sent.length <= TIME_ZONE_MAX && isTimeZone(sent)) return sent;
  found.add("invalid_request", "time_zone", 'must be an IANA time zone name, such as "Europe/Berlin"');
  return "UTC";
}

function pageSizeOf(found: Violations, sent: number): number {
  if (sent < 0) found.add("invalid_request", "page_size", "must not be negative");
  return sent <= 0 ? PAGE_SIZE_DEFAULT : Math.min(sent, PAGE_SIZE_MAX);
}

function overOf(found: Violations, over: GetUsageRequest["over"]): UsageRequest["over"] {
  if (over.case === "period") return known(found, "period", PERIODS.get(over.value), "default");
  return over.case === "interval" ? intervalOf(found, over.value) : "default";
}

function intervalOf(found: Violations, sent: SentInterval): Interval {
  const startMs = boundaryOf(found, "interval.start_time", sent.startTime);
  const endMs = boundaryOf(found, "interval.end_time", sent.endTime);
  if (startMs === undefined || endMs === undefined) return { startMs: 0, endMs: 0 };
  if (startMs >= endMs) found.add("invalid_request", "interval.end_time", "must be after start_time");
  else if (endMs - startMs > INTERVAL_MAX_MS)
    found.add("invalid_request", "interval", `must span at most ${INTERVAL_MAX_MS / DAY_MS} days`);
  return { startMs, endMs };
}

/** Milliseconds; undefined, with a violation added, where it is no quarter-hour from 1970 to 9999. */
function boundaryOf(found: Violations, field: string, sent: Timestamp | undefined): number | undefined {
  if (sent === undefined) {
    found.add("invalid_request", field, "is required");
    return undefined;
  }
  const timeMs = Number(sent.seconds) * 1000;
  if (sent.seconds >= 0n && sent.seconds <= TIMESTAMP_MAX_S && sent.nanos === 0 && timeMs % QUARTER_HOUR_MS === 0)
    return timeMs;
  found.add("invalid_request", field, "must be on a quarter-hour of UTC, from 1970 to 9999");
  return undefined;
}

function durationOf(
  found: Violations,
  field: string,
  sent: Duration | undefined,
  bounds: { readonly minMs: number; readonly maxMs: number; readonly defaultMs: number },
): number {
  if (sent === undefined) return bounds.defaultMs;
  const durationMs = Number(sent.seconds) * 1000 + sent.nanos / 1_000_000;
  if (durationMs >= bounds.minMs && durationMs <= bounds.maxMs) return Math.floor(durationMs);
  found.add("invalid_request", field, `must be ${bounds.minMs} ms..${bounds.maxMs / 1000} s`);
  return bounds.defaultMs;
}
