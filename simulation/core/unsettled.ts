// What is still under way between the ledger and Stripe, once troubles are over. In the end there is nothing.

import type { MeteredCustomer } from "../../src/app/ports/reconciliation.ts";
import type { Interval } from "../../src/domain/window.ts";
import type { DriftRow } from "./model/reconciliation.ts";
import { isUncompared } from "./model/reconciliation.ts";
import { isOpen, type ReportRow } from "./model/report-row.ts";
import type { Stores } from "./stores.ts";
import { MINUTE_MS } from "./world.ts";

export interface Unsettled {
  readonly what: string;
  readonly subjects: readonly string[];
}

/** What is looked through for drifts that are left open. */
type DriftStores = Pick<Stores, "outbox" | "billing" | "reconciliation">;

/**
 * Drifts that wait for a person, and with each all of its minute: one in a minute that two periods share, of which nobody can say whose it
 * is before both are billed; and too much of one in which something was taken back, since nobody tries all that may be missing of many reports.
 */
export function waitingForAPerson({ outbox, billing, reconciliation }: DriftStores): readonly DriftRow[] {
  const takingBack = [...outbox.reports.values()].filter(
    ({ value, kind }) => value < 0n && kind !== "drift" && kind !== "unbilled",
  );
  const isBilled = (drift: DriftRow) =>
    [drift.startMs, ...reconciliation.boundariesIn(drift, drift.startMs, drift.endMs)].every((side) =>
      billing.periodsAt(drift.stripeCustomerId, drift.eventName, side).some(({ billed }) => billed !== undefined),
    );
  return reconciliation.drifts.filter(
    (drift) =>
      drift.state === "open" &&
      ((drift.hindrance === "boundary" && !isBilled(drift)) ||
        (drift.hindrance === "foreign" && takingBack.some((report) => isInDrift(report, [drift])))),
  );
}

export function isInDrift(report: ReportRow, drifts: readonly (MeteredCustomer & Interval)[]): boolean {
  return drifts.some(
    ({ stripeCustomerId, eventName, startMs, endMs }) =>
      report.stripeCustomerId === stripeCustomerId &&
      report.eventName === eventName &&
      startMs <= report.timestampMs &&
      report.timestampMs < endMs,
  );
}

export function unsettled(stores: Stores): Unsettled[] {
  const { ledger, outbox, flushRequests, billing, reconciliation, scheduler } = stores;
  const nameOf = (of: { readonly customerId: string; readonly eventName: string }) =>
    `${of.customerId} ${of.eventName}`;
  const nowMs = scheduler.nowMs - MINUTE_MS;
  const waiting = waitingForAPerson(stores);
  const windows = [...ledger.windows.values()].filter((w) => w.total !== w.reported && w.windowEndMs <= nowMs);
  const isUnderWay = (r: ReportRow) =>
    isOpen(r) || r.state === "sent" || isUncompared(r) || (r.state === "held" && r.reason === "outcome_unknown");
  const reports = [...outbox.reports.values()].filter((r) => isUnderWay(r) && !isInDrift(r, waiting));
  const drifts = reconciliation.drifts.filter((drift) => drift.state === "open" && !waiting.includes(drift));
  const closable = billing.periods.filter(
    (p) =>
      p.billed !== undefined &&
      !p.closed &&
      !waiting.some(
        (d) =>
          d.stripeCustomerId === p.stripeCustomerId &&
          d.eventName === p.eventName &&
          d.startMs < p.endMs &&
          d.endMs > p.startMs,
      ),
  );
  const requests = [...outbox.requestedHours.values()].filter(
    (q) => !waiting.some((d) => d.stripeCustomerId === q.stripeCustomerId && d.eventName === q.eventName),
  );
  const customerOf = (of: { readonly stripeCustomerId: string; readonly eventName: string }) =>
    `${billing.customerOf(of.stripeCustomerId)} ${of.eventName}`;
  return [
    ...windows.map((w) => ({ what: `${nameOf(w)} is not planned`, subjects: [nameOf(w)] })),
    ...reports.map((r) => ({ what: `${r.identifier} is ${r.state}`, subjects: [r.identifier, nameOf(r)] })),
    ...drifts.map((d) => ({ what: `a drift of ${customerOf(d)} is open: ${d.hindrance}`, subjects: [customerOf(d)] })),
    ...closable.map((p) => ({ what: `${p.invoiceId} is not closed`, subjects: [customerOf(p)] })),
    ...requests.map((q) => ({ what: `an hour of ${customerOf(q)} is not compared`, subjects: [customerOf(q)] })),
    ...flushRequests.rows
      .filter(({ doneMs }) => doneMs === undefined)
      .map(({ requestId }) => ({ what: `flush ${requestId} is not done`, subjects: [] })),
  ];
}
