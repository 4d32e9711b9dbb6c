// What is read beside the stream: billing, limits, and the period before.
import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { BillingState, Interval, LimitStatus } from "../../gen/metering/v1/usage_pb.ts";
import type { Api } from "./api.ts";
import { periodBefore, type Span } from "./period-before.ts";

export interface KeyLimits {
  readonly apiKeyId: string;
  readonly limits: readonly LimitStatus[];
}

const TIMEOUT_MS = 10_000;
/** Most keys whose limits are asked for, one call each. */
export const KEYS_MAX = 10;
const QUARTER_HOUR_MS = 15 * 60_000;

/** Rejects as GetUsage does. */
export async function readBilling(api: Api, customerId: string, signal: AbortSignal): Promise<BillingState> {
  const { billing } = await api.metering.getUsage({ customerId }, { signal, timeoutMs: TIMEOUT_MS });
  if (billing === undefined) throw new Error("GetUsage said nothing of billing");
  return billing;
}

export function readLimits(
  api: Api,
  customerId: string,
  keys: readonly string[],
  signal: AbortSignal,
): Promise<KeyLimits[]> {
  const read = async (apiKeyId: string) => {
    const { limits } = await api.metering.getUsage({ customerId, apiKeyId }, { signal, timeoutMs: TIMEOUT_MS });
    return { apiKeyId, limits };
  };
  return Promise.all(keys.map(read));
}

export interface Comparison {
  readonly before: Span;
  /** Tokens of it, up to the same point as the running period has come to. */
  readonly soFar: bigint;
  /** Of all of it. */
  readonly whole: bigint;
}

/** Tokens of the period before `interval`, in whole quarters of an hour. `now`: the server's, as the stream tells it. */
export async function readComparison(
  api: Api,
  customerId: string,
  { startTime, endTime }: Interval,
  now: Timestamp,
  signal: AbortSignal,
): Promise<Comparison> {
  if (startTime === undefined || endTime === undefined) throw new Error("a period without ends");
  const startMs = timestampMs(startTime);
  const before = periodBefore({ startMs, endMs: timestampMs(endTime) });
  const from = floorToQuarter(before.startMs);
  const to = floorToQuarter(before.endMs);
  const same = Math.min(to, floorToQuarter(from + (timestampMs(now) - startMs)));
  const sum = async (until: number) => {
    if (until <= from) return 0n;
    const value = { startTime: timestampFromMs(from), endTime: timestampFromMs(until) };
    const over = { case: "interval", value } as const;
    return (await api.metering.getUsage({ customerId, over }, { signal, timeoutMs: TIMEOUT_MS })).tokensUsed;
  };
  const [soFar, whole] = await Promise.all([sum(same), sum(to)]);
  return { before, soFar, whole };
}

function floorToQuarter(ms: number): number {
  return Math.floor(ms / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
}
