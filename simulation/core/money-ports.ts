// The ports of a leader's work: the outbox and what stands beside it, over the wire to the database; Stripe, over another.
import type { InvoicedPeriods } from "../../src/app/ports/invoiced-periods.ts";
import type { MeterSummaries, Reconciliation } from "../../src/app/ports/reconciliation.ts";
import type { FlushRequests, MeterSink, Reports, SinkName } from "../../src/app/ports/reports.ts";
import type { SinkOutcome } from "../../src/domain/report.ts";
import type { Machine } from "./machine.ts";
import type { ModelFlushRequests } from "./model/flush-requests.ts";
import type { ModelInvoicedPeriods } from "./model/invoiced-periods.ts";
import type { ModelOutbox } from "./model/outbox.ts";
import type { ModelReconciliation } from "./model/reconciliation.ts";
import type { ModelStripe } from "./model/stripe.ts";
import type { Wire } from "./wire.ts";

export function reportsPort(machine: Machine, wire: Wire, outbox: ModelOutbox, sink: SinkName): Reports {
  const none = { openReports: 0, otherSinkReports: 0, heldReports: 0, unmappedWindows: 0, lagMs: 0 };
  return {
    plan: (...args) => wire.call(machine, () => outbox.plan(...args)),
    replaceClosed: (...args) => wire.call(machine, () => outbox.replaceClosed(...args)),
    claim: (grant, limit) => wire.call(machine, () => outbox.claim(grant, sink, limit)),
    settle: (...args) => wire.call(machine, () => outbox.settle(...args)),
    // For metrics alone.
    backlog: () => wire.call(machine, () => none),
    deadlines: () => wire.call(machine, () => []),
  };
}

export function flushRequestsPort(machine: Machine, wire: Wire, requests: ModelFlushRequests): FlushRequests {
  return {
    request: (customerId) => wire.call(machine, () => requests.request(customerId)),
    unplanned: () => wire.call(machine, () => requests.unplanned()),
    planned: (...args) => wire.call(machine, () => requests.planned(...args)),
    complete: (...args) => wire.call(machine, () => requests.complete(...args)),
    isComplete: (requestId) => wire.call(machine, () => requests.isComplete(requestId)),
  };
}

export function reconciliationPort(machine: Machine, wire: Wire, book: ModelReconciliation): Reconciliation {
  return {
    due: (lagMs, _onlyAsked, after, limit) => wire.call(machine, () => book.due(lagMs, after, limit)),
    // All requests are for hours here.
    cutRequests: async () => {},
    settle: (...args) => wire.call(machine, () => book.settle(...args)),
    look: () => Promise.reject(new Error("nobody only looks here")),
    answered: (grant, of, readAtMs, done, waiting) =>
      wire.call(machine, () => book.answered(grant, of, readAtMs, done, waiting)),
    state: () => wire.call(machine, () => book.state()),
  };
}

export function invoicedPeriodsPort(machine: Machine, wire: Wire, periods: ModelInvoicedPeriods): InvoicedPeriods {
  return { close: (...args) => wire.call(machine, () => periods.close(...args)) };
}

/** Told when a request begins and when its sender has an answer. */
export interface SinkWatcher {
  begins(machine: Machine, lane: string): void;
  ends(machine: Machine, lane: string): void;
}

export function sinkPort(
  machine: Machine,
  wire: Wire,
  stripe: ModelStripe,
  name: SinkName,
  watcher: SinkWatcher,
): MeterSink {
  const batchMax = name === "v1" ? 1 : 5;
  return {
    name,
    batchMax,
    serial: name === "v1",
    async send(reports, signal) {
      const [first] = reports;
      if (first === undefined || reports.length > batchMax) throw new Error(`a request of ${reports.length} reports`);
      const serial = name === "v1" || first.kind === "cancel";
      const lane = serial ? `${first.stripeCustomerId} ${first.eventName}` : first.identifier;
      watcher.begins(machine, lane);
      try {
        // Not repeated on its way: the client sees to it that a call is one request (src/stripe/client.ts).
        return await wire.call(machine, () => stripe.send(name, reports), { signal });
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        return reports.map((): SinkOutcome => ({ kind: "unknown", message }));
      } finally {
        watcher.ends(machine, lane);
      }
    },
  };
}

export function summariesPort(machine: Machine, wire: Wire, stripe: ModelStripe): MeterSummaries {
  return {
    hours: (of, interval, signal) =>
      wire.call(machine, () => stripe.hours(of.stripeCustomerId, of.eventName, interval), { signal, repeatable: true }),
    sum: (of, interval, signal) =>
      wire.call(machine, () => stripe.sum(of.stripeCustomerId, of.eventName, interval), { signal, repeatable: true }),
  };
}
