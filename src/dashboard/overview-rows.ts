// An overview as rows of tables.
import type { GetOverviewResponse } from "../../gen/metering/admin/v1/operations_service_pb.ts";
import { durationSeconds, moment, secondsBetween, span, whole } from "./format.ts";
import type { Row } from "./table.ts";

/** From recorded to taken by Stripe, in the order in which it goes. */
export function moneyRows({ pending, reports, readTime, webhooksWaiting, webhooksDead }: GetOverviewResponse): Row[] {
  const oldest = pending?.oldestStartTime;
  const age =
    oldest === undefined || readTime === undefined ? "" : `, oldest ${span(secondsBetween(oldest, readTime))}`;
  const rows: [string, string][] = [
    ["Recorded, not yet frozen", `${whole(pending?.windows ?? 0n)}${age}`],
    ["Customers Stripe does not know", whole(pending?.unmappedCustomers ?? 0n)],
    ["Waiting to be sent", whole(reports?.planned ?? 0n)],
    ["Being sent", whole(reports?.sending ?? 0n)],
    ["Sent, answer unknown", whole(reports?.unknown ?? 0n)],
    ["Sent, not yet in Stripe's sums", whole(reports?.sent ?? 0n)],
    ["Taken by Stripe, last 24 h", whole(reports?.acceptedLastDay ?? 0n)],
    ["Held", whole(reports?.held ?? 0n)],
    ["Webhooks waiting", whole(webhooksWaiting)],
    ["Webhooks that failed", whole(webhooksDead)],
  ];
  return rows.map(([name, count]) => ({ key: name, name, cells: [count] }));
}

const DUE: Readonly<Record<string, string>> = {
  invoice: "Before the invoice is final",
  resend: "While it may be sent again",
  age: "While Stripe takes it",
};

export function deadlineRows({ deadlines }: GetOverviewResponse): Row[] {
  return deadlines.map(({ kind, tightest, waiting, overdue }) => ({
    key: kind,
    name: DUE[kind] ?? kind,
    cells: [tightest === undefined ? "–" : span(durationSeconds(tightest)), whole(waiting), whole(overdue)],
  }));
}

export function heldRows({ held }: GetOverviewResponse): Row[] {
  return held.map(({ reason, reports, exampleCustomerId, exampleMessage }) => ({
    key: reason,
    name: reason.replaceAll("_", " "),
    cells: [whole(reports), [exampleCustomerId, exampleMessage].filter(Boolean).join(": ")],
  }));
}

export function driftRows({ drifts }: GetOverviewResponse): Row[] {
  return drifts.map(({ explanation, hindrance, spans }) => ({
    key: `${explanation} ${hindrance}`,
    name: explanation.replaceAll("_", " "),
    cells: [whole(spans), hindrance.replaceAll("_", " ") || "being repaired"],
  }));
}

export function gapRows({ gaps }: GetOverviewResponse): Row[] {
  return gaps.map(({ shard, detectTime, lostToTime }, at) => ({
    key: `${shard} ${detectTime?.seconds ?? at}`,
    name: String(shard),
    cells: [detectTime, lostToTime].map((time) => (time === undefined ? "–" : moment(time))),
  }));
}

export function refusedRows({ refusedRecords }: GetOverviewResponse): Row[] {
  return Object.entries(refusedRecords)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([reason, records]) => ({ key: reason, name: reason.replaceAll("_", " "), cells: [whole(records)] }));
}
