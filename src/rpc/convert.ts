// Answers from the domain to the wire. Nothing is decided here.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type GetUsageResponse,
  GetUsageResponseSchema,
  RecordOutcome,
  type RecordUsageResponse,
  RecordUsageResponseSchema,
  type StreamUsageResponse,
  StreamUsageResponse_HeartbeatSchema,
  StreamUsageResponse_SnapshotSchema,
  StreamUsageResponse_UpdateSchema,
  StreamUsageResponseSchema,
} from "../../gen/metering/v1/metering_service_pb.ts";
import {
  BillingStateSchema,
  IntervalSchema,
  LimitStatusSchema,
  LimitWindow,
  type Interval as SentInterval,
  type LimitStatus as SentLimit,
  type UsageTotal as SentTotal,
  UsageTotalSchema,
} from "../../gen/metering/v1/usage_pb.ts";
import type { UsageAnswer, UsageTotal, WatchEvent } from "../app/usage-request.ts";
import type { LimitStatus } from "../domain/limits.ts";
import type { Interval } from "../domain/window.ts";

/** Answers to stored records. Those of one commit are alike, so that the last one is kept and given again: treat them as frozen. */
export class RecordResponses {
  #last = create(RecordUsageResponseSchema);

  to(outcome: "recorded" | "duplicate", consistencyToken: string, limits: readonly LimitStatus[]): RecordUsageResponse {
    const sent = outcome === "recorded" ? RecordOutcome.RECORDED : RecordOutcome.DUPLICATE;
    if (limits.length > 0)
      return create(RecordUsageResponseSchema, { outcome: sent, consistencyToken, limits: toLimits(limits) });
    if (this.#last.outcome !== sent || this.#last.consistencyToken !== consistencyToken) {
      this.#last = create(RecordUsageResponseSchema);
      this.#last.outcome = sent;
      this.#last.consistencyToken = consistencyToken;
    }
    return this.#last;
  }
}

export function toUsageResponse(answer: UsageAnswer, limits: readonly LimitStatus[]): GetUsageResponse {
  const { tokensUsed, requests, nextPageToken, billing } = answer;
  return create(GetUsageResponseSchema, {
    interval: toInterval(answer.interval),
    tokensUsed,
    requests,
    totals: toTotals(answer.totals),
    nextPageToken,
    limits: toLimits(limits),
    ...(billing && {
      billing: create(BillingStateSchema, {
        subscriptionStatus: billing.subscriptionStatus,
        entitled: billing.entitled,
        reported: Object.fromEntries(billing.reported),
        unreported: Object.fromEntries(billing.unreported),
      }),
    }),
    watermarkTime: timestampFromMs(answer.watermarkMs),
  });
}

export function toWatchResponse(event: WatchEvent): StreamUsageResponse {
  const response = create(StreamUsageResponseSchema);
  response.event = toWatchBody(event);
  response.resumeToken = event.resumeToken;
  response.watermarkTime = timestampFromMs(event.watermarkMs);
  return response;
}

function toWatchBody(event: WatchEvent): StreamUsageResponse["event"] {
  switch (event.kind) {
    case "snapshot": {
      const value = create(StreamUsageResponse_SnapshotSchema, { interval: toInterval(event.interval) });
      value.totals = toTotals(event.totals);
      return { case: "snapshot", value };
    }
    case "update": {
      const value = create(StreamUsageResponse_UpdateSchema);
      value.totals = toTotals(event.totals);
      return { case: "update", value };
    }
    case "heartbeat":
      return { case: "heartbeat", value: create(StreamUsageResponse_HeartbeatSchema) };
  }
}

export function toLimits(limits: readonly LimitStatus[]): SentLimit[] {
  return limits.map(({ window, limit, remaining, resetMs }) => {
    const sent = create(LimitStatusSchema);
    sent.window = window === "minute" ? LimitWindow.MINUTE : LimitWindow.DAY;
    sent.limit = limit;
    // Sums over meters may leave 64 bits where none of theirs does.
    sent.remaining = remaining < INT64_MIN ? INT64_MIN : remaining;
    sent.resetTime = timestampFromMs(resetMs);
    return sent;
  });
}

const INT64_MIN = -(2n ** 63n);

function toTotals(totals: readonly UsageTotal[]): SentTotal[] {
  return totals.map((total) => {
    const sent = create(UsageTotalSchema);
    sent.customerId = total.customerId;
    sent.window = toInterval(total.window);
    sent.meter = total.meter;
    sent.apiKeyId = total.apiKeyId;
    sent.model = total.model;
    for (const [key, value] of total.labels) sent.labels[key] = value;
    sent.quantity = total.quantity;
    sent.recordCount = total.recordCount;
    return sent;
  });
}

function toInterval(interval: Interval): SentInterval {
  const sent = create(IntervalSchema);
  sent.startTime = timestampFromMs(interval.startMs);
  sent.endTime = timestampFromMs(interval.endMs);
  return sent;
}
