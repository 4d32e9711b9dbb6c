// What Stripe counted: GET /v1/billing/meters/:id/event_summaries.
import { z } from "zod";
import { integer, params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { pageOf, pagingShape, type StripeList } from "../state/collection.ts";
import { opaqueToken } from "../state/random.ts";
import { toJsonNumber } from "./quantity.ts";

/** `billing.meter_event_summary`. */
interface MeterEventSummary {
  readonly id: string;
  readonly object: "billing.meter_event_summary";
  readonly aggregated_value: number;
  readonly end_time: number;
  readonly livemode: false;
  readonly meter: string;
  readonly start_time: number;
}

const GRAINS = { minute: 60, hour: 3_600, day: 86_400 };

const listSummaries = params({
  ...pagingShape,
  customer: text(),
  start_time: integer(),
  end_time: integer(),
  value_grouping_window: z.enum(["day", "hour"]).optional(),
});

/** Newest window first; windows without events are left out; one window of the whole range if no grouping is asked for. */
function list(account: Account, meterId: string, sent: z.infer<typeof listSummaries>): StripeList<MeterEventSummary> {
  const meter = account.meters.get(meterId);
  account.customers.get(sent.customer, "customer");
  checkAligned(sent);
  const span = { start: sent.start_time, end: sent.end_time };
  const window = sent.value_grouping_window === undefined ? span.end - span.start : GRAINS[sent.value_grouping_window];
  const { summaryDelayMs: minMs, summaryDelayMaxMs: maxMs } = account.settings;
  const shown = { atMs: account.nowMs, minMs, maxMs };
  const { formula } = meter.default_aggregation;
  const sums = account.usage.aggregateBy(meter.id, sent.customer, span, window, formula, shown);
  const summaries = [...sums]
    .sort(([a], [b]) => b - a)
    .map(([start, sum]): MeterEventSummary => {
      const end = start + window;
      return {
        id: `mtrusg_test_${opaqueToken(`${meter.id} ${sent.customer} ${start} ${end}`)}`,
        object: "billing.meter_event_summary",
        aggregated_value: toJsonNumber(sum),
        end_time: end,
        livemode: false,
        meter: meter.id,
        start_time: start,
      };
    });
  return pageOf(summaries, sent, "billing.meter_event_summary", `/v1/billing/meters/${meter.id}/event_summaries`);
}

function checkAligned(sent: z.infer<typeof listSummaries>): void {
  const grain = sent.value_grouping_window ?? "minute";
  for (const param of ["start_time", "end_time"] as const) {
    if (sent[param] % GRAINS[grain] !== 0) {
      const boundary = grain === "day" ? "UTC day" : grain;
      throw badRequest(`The ${param} must align with ${boundary} boundaries. Received ${sent[param]}.`, { param });
    }
  }
  if (sent.end_time <= sent.start_time) {
    throw badRequest("The end_time must be after the start_time.", { param: "end_time" });
  }
}

export const summariesRoute: Route = route("GET", "/v1/billing/meters/:id/event_summaries", listSummaries, (call) =>
  list(call.account, call.path[0] ?? "", call.params),
);
