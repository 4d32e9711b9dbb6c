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
  type Interval as SentInterval,
  type UsageTotal as SentTotal,
  UsageTotalSchema,
} from "../../gen/metering/v1/usage_pb.ts";
import type { UsageAnswer, UsageTotal, WatchEvent } from "../app/usage-request.ts";
import type { Interval } from "../domain/window.ts";

/** Answers to stored records. Those of one commit are alike, so that the last one is kept and given again: treat them as frozen. */
export class RecordResponses {
  #last = create(RecordUsageResponseSchema);

  to(outcome: "recorded" | "duplicate", consistencyToken: string): RecordUsageResponse {
    const sent = outcome === "recorded" ? RecordOutcome.RECORDED : RecordOutcome.DUPLICATE;
    if (this.#last.outcome !== sent || this.#last.consistencyToken !== consistencyToken) {
      this.#last = create(RecordUsageResponseSchema);
      this.#last.outcome = sent;
      this.#last.consistencyToken = consistencyToken;
    }
    return this.#last;
  }
}

export function toUsageResponse(answer: UsageAnswer): GetUsageResponse {
  const { tokensUsed, requests, nextPageToken, billing } = answer;
  return create(GetUsageResponseSchema, {
    interval: toInterval(answer.interval),
    tokensUsed,
    requests,
    totals: toTotals(answer.totals),
    nextPageToken,
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
