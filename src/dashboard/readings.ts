// What is read beside the stream: billing, limits, and the last period.
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { BillingState, Interval, LimitStatus } from "../../gen/metering/v1/usage_pb.ts";
import type { Api } from "./api.ts";

export interface KeyLimits {
  readonly apiKeyId: string;
  readonly limits: readonly LimitStatus[];
}

const TIMEOUT_MS = 10_000;
/** Keys whose limits are asked for, the busiest first: one call each. */
const KEYS_MAX = 10;
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
  return Promise.all(keys.slice(0, KEYS_MAX).map(read));
}

/** Tokens of the period before `interval`: up to the same point, to a quarter of an hour, and of all of it. */
export async function readComparison(
  api: Api,
  customerId: string,
  { startTime, endTime }: Interval,
  signal: AbortSignal,
): Promise<{ readonly soFar: bigint; readonly whole: bigint }> {
  if (startTime === undefined || endTime === undefined) throw new Error("a period without ends");
  const start = timestampDate(startTime);
  const before = new Date(start);
  before.setUTCMonth(before.getUTCMonth() - 1);
  const from = floorToQuarter(before.getTime());
  const to = floorToQuarter(start.getTime());
  const same = Math.min(to, floorToQuarter(from + (Date.now() - start.getTime())));
  const sum = async (until: number) => {
    if (until <= from) return 0n;
    const value = { startTime: timestampFromDate(new Date(from)), endTime: timestampFromDate(new Date(until)) };
    const over = { case: "interval", value } as const;
    return (await api.metering.getUsage({ customerId, over }, { signal, timeoutMs: TIMEOUT_MS })).tokensUsed;
  };
  const [soFar, whole] = await Promise.all([sum(same), sum(to)]);
  return { soFar, whole };
}

function floorToQuarter(ms: number): number {
  return Math.floor(ms / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
}
