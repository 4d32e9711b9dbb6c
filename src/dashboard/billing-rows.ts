// Billing and limits as rows of tables.
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { type BillingState, LimitWindow } from "../../gen/metering/v1/usage_pb.ts";
import { clockTime, dayTime, ratio, whole } from "./format.ts";
import type { KeyLimits } from "./readings.ts";
import type { Row } from "./table.ts";

/** One row a Stripe meter. */
export function invoiceRows({ reported, unreported }: BillingState): Row[] {
  const names = [...new Set([...Object.keys(reported), ...Object.keys(unreported)])].sort();
  return names.map((name) => ({
    key: name,
    name,
    cells: [whole(reported[name] ?? 0n), whole(unreported[name] ?? 0n)],
  }));
}

/** One row a limit. */
export function limitRows(keys: readonly KeyLimits[]): Row[] {
  return keys.flatMap(({ apiKeyId, limits }) =>
    limits.map(({ window, limit, remaining, resetTime }) => ({
      key: `${apiKeyId} ${window}`,
      name: `${apiKeyId}, per ${window === LimitWindow.MINUTE ? "minute" : "day"}`,
      cells: [
        `${whole(remaining)} of\u00a0${whole(limit)}`,
        resetTime === undefined ? "–" : resetText(window, resetTime),
      ],
      share: Math.max(0, ratio(remaining, limit)),
      isBad: remaining < 0n,
    })),
  );
}

/** A minute's end is told to the second. */
function resetText(window: LimitWindow, at: Timestamp): string {
  return window === LimitWindow.MINUTE ? clockTime(timestampMs(at)) : dayTime(timestampMs(at));
}
