// Limits of API keys: what a key may use in a minute and in a day of UTC, and what is left. Pure.
//
// Usage counts in the minute and the day that its event time lies in, so that a late record takes nothing from the present.
import { type MeterCatalog, REQUESTS_METER } from "./meter.ts";
import { compareText, type UsageRecord } from "./usage-record.ts";
import { DAY_MS, type Interval, MINUTE_MS } from "./window.ts";

/** The windows that limits are over, UTC. */
export type LimitWindow = "minute" | "day";

export const LIMIT_WINDOWS: readonly LimitWindow[] = ["minute", "day"];

/** A named set of limits, from the configuration. */
export interface Tier {
  readonly name: string;
  /** Undefined: none. */
  readonly tokensPerMinute: bigint | undefined;
  readonly tokensPerDay: bigint | undefined;
  /** What CheckLimits does where a limit is used up; recording is never refused. */
  readonly onLimit: "report" | "refuse";
}

/** What the configuration says of limits. */
export interface LimitPolicy {
  /** Meters whose quantities count; REQUESTS_METER may be among them. */
  readonly meters: readonly string[];
  readonly tiers: ReadonlyMap<string, Tier>;
}

/** One API key of one customer. */
export interface KeyRef {
  readonly customerId: string;
  readonly apiKeyId: string;
}

/** One text a key, injective. */
export function keyId({ customerId, apiKeyId }: KeyRef): string {
  return `${customerId.length}:${customerId}${apiKeyId}`;
}

/** What of a key's definition its limits follow from. */
export interface KeyLimits {
  /** Empty: none. One that the configuration no longer has gives no limits. */
  readonly tier: string;
  /** Undefined: the tier's. */
  readonly tokensPerMinute: bigint | undefined;
  readonly tokensPerDay: bigint | undefined;
}

/** What a key has used, by the meters that count, in the minute and the day that hold `nowMs`. */
export interface KeyUsage {
  readonly nowMs: number;
  readonly minute: bigint;
  readonly day: bigint;
}

/** What is left of one limit. */
export interface LimitStatus {
  readonly window: LimitWindow;
  readonly limit: bigint;
  /** Negative when overrun. */
  readonly remaining: bigint;
  readonly resetMs: number;
}

/** What records add to a counter, or a void takes from it. */
export interface LimitDelta extends KeyRef {
  readonly window: LimitWindow;
  readonly windowStartMs: number;
  /** In the meters' units, never negative. */
  readonly used: bigint;
}

/** Without a word in the configuration all token meters count, and there are no tiers. */
export function limitPolicyOf(catalog: MeterCatalog): LimitPolicy {
  if (catalog.limits !== undefined) return catalog.limits;
  const meters = [...catalog.meters.values()].filter(({ unit }) => unit === "token").map(({ name }) => name);
  return { meters, tiers: new Map() };
}

/** The window that holds an instant. */
export function limitWindowAt(window: LimitWindow, timeMs: number): Interval {
  const sizeMs = limitWindowMs(window);
  const startMs = Math.floor(timeMs / sizeMs) * sizeMs;
  return { startMs, endMs: startMs + sizeMs };
}

/** Windows counted from the epoch of Unix. */
export function limitWindowNumber(window: LimitWindow, timeMs: number): number {
  return Math.floor(timeMs / limitWindowMs(window));
}

export function limitWindowMs(window: LimitWindow): number {
  return window === "minute" ? MINUTE_MS : DAY_MS;
}

/**
 * Counters of a key stand in a ring: eight places for minutes and two for days, since event times are at most 5 minutes ahead. A window that
 * begins takes the place of one that nobody asks for any more, so counters need no cleaning up and never grow in number.
 */
export const MINUTE_PLACES = 8;
export const DAY_PLACES = 2;

/** Place of a window's counter: minutes in 0..7, days in 8 and 9. */
export function placeOf(window: LimitWindow, startMs: number): number {
  const number = startMs / limitWindowMs(window);
  return window === "minute" ? number % MINUTE_PLACES : MINUTE_PLACES + (number % DAY_PLACES);
}

/** Clocks of those who record, count and ask may differ by so much: a window that is over for longer is not asked for any more. */
export const LIMIT_CLOCK_SLACK_MS = 2 * MINUTE_MS;

/** What of a record counts towards limits. */
export function countedQuantity(
  { measurements }: Pick<UsageRecord, "measurements">,
  meters: readonly string[],
): bigint {
  let sum = meters.includes(REQUESTS_METER) ? 1n : 0n;
  for (const { meter, quantity } of measurements) if (meters.includes(meter)) sum += quantity;
  return sum;
}

/**
 * What distinct records add to the counters of their keys, sorted by key and place, one for each place: where two windows share one, the later
 * stays. Records without an API key add nothing.
 */
export function limitDeltas(records: readonly UsageRecord[], meters: readonly string[]): LimitDelta[] {
  const deltas = new Map<string, { -readonly [K in keyof LimitDelta]: LimitDelta[K] }>();
  for (const record of records) {
    const { customerId, apiKeyId, eventTimeMs } = record;
    if (apiKeyId === "") continue;
    const used = countedQuantity(record, meters);
    for (const window of LIMIT_WINDOWS) {
      const windowStartMs = limitWindowAt(window, eventTimeMs).startMs;
      const key = JSON.stringify([customerId, apiKeyId, placeOf(window, windowStartMs)]);
      const delta = deltas.get(key);
      if (delta === undefined || delta.windowStartMs < windowStartMs)
        deltas.set(key, { customerId, apiKeyId, window, windowStartMs, used });
      else if (delta.windowStartMs === windowStartMs) delta.used += used;
    }
  }
  return [...deltas.values()].sort(
    (a, b) =>
      compareText(a.customerId, b.customerId) ||
      compareText(a.apiKeyId, b.apiKeyId) ||
      placeOf(a.window, a.windowStartMs) - placeOf(b.window, b.windowStartMs),
  );
}

/** The limit of a key over a window: its own, else its tier's. Undefined: none. */
export function limitOf(key: KeyLimits, window: LimitWindow, { tiers }: LimitPolicy): bigint | undefined {
  const tier = tiers.get(key.tier);
  if (window === "minute") return key.tokensPerMinute ?? tier?.tokensPerMinute;
  return key.tokensPerDay ?? tier?.tokensPerDay;
}

export function hasLimits(key: KeyLimits, policy: LimitPolicy): boolean {
  return LIMIT_WINDOWS.some((window) => limitOf(key, window, policy) !== undefined);
}

/** What is left of each limit that a key has. */
export function limitStatuses(key: KeyLimits, policy: LimitPolicy, usage: KeyUsage): LimitStatus[] {
  return LIMIT_WINDOWS.flatMap((window) => {
    const limit = limitOf(key, window, policy);
    if (limit === undefined) return [];
    const resetMs = limitWindowAt(window, usage.nowMs).endMs;
    return [{ window, limit, remaining: limit - usage[window], resetMs }];
  });
}

/**
 * The limit that forbids further use, where the key's tier refuses: one that is used up, or has less left than estimated. Of several the one
 * that resets last, since nothing passes before. Undefined: go ahead.
 */
export function reachedLimit(
  key: KeyLimits,
  policy: LimitPolicy,
  statuses: readonly LimitStatus[],
  estimated: bigint,
): LimitStatus | undefined {
  if (policy.tiers.get(key.tier)?.onLimit !== "refuse") return undefined;
  const needed = estimated > 0n ? estimated : 1n;
  const reached = statuses.filter(({ remaining }) => remaining < needed);
  return reached.reduce<LimitStatus | undefined>(
    (last, one) => (last === undefined || one.resetMs > last.resetMs ? one : last),
    undefined,
  );
}
