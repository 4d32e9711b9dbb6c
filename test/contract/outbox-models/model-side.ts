// The models, called at once, with no wire between.

import { CATALOG } from "../../../simulation/catalog.ts";
import { Billing } from "../../../simulation/core/model/billing.ts";
import { ModelFlushRequests } from "../../../simulation/core/model/flush-requests.ts";
import { ModelInvoicedPeriods } from "../../../simulation/core/model/invoiced-periods.ts";
import { ModelLease } from "../../../simulation/core/model/lease.ts";
import { ModelLedger } from "../../../simulation/core/model/ledger.ts";
import { ModelOutbox } from "../../../simulation/core/model/outbox.ts";
import { ModelReconciliation } from "../../../simulation/core/model/reconciliation.ts";
import type { InvoicedPeriods } from "../../../src/app/ports/invoiced-periods.ts";
import type { Reconciliation } from "../../../src/app/ports/reconciliation.ts";
import type { ClaimedReport, FlushRequests, Lease, LeaseGrant, Reports } from "../../../src/app/ports/reports.ts";
import { BOUNDARIES, CUSTOMERS, LAG_MS } from "./operations.ts";
import { inOrder, type PeriodState, type Rows, type Side } from "./side.ts";

const unwatched = { applied() {}, voided() {}, refused() {}, watermark() {} };

export class ModelSide implements Side {
  readonly reports: Reports;
  readonly requests: FlushRequests;
  readonly lease: Lease;
  readonly reconciliation: Reconciliation;
  readonly periods: InvoicedPeriods;
  readonly grants: LeaseGrant[] = [];
  claimed: readonly ClaimedReport[] = [];
  readonly #ledger = new ModelLedger(2, CATALOG, unwatched);
  readonly #billing = new Billing();
  readonly #outbox: ModelOutbox;
  readonly #flushRequests: ModelFlushRequests;
  readonly #reconciliation: ModelReconciliation;
  #nowMs: number;

  constructor(startMs: number) {
    this.#nowMs = startMs;
    const nowMs = () => this.#nowMs;
    const lease = new ModelLease(nowMs);
    const tables = { nowMs, lease, ledger: this.#ledger, billing: this.#billing };
    const outbox = new ModelOutbox({ ...tables, intake: "postgres", watcher: { frozen() {} } });
    const requests = new ModelFlushRequests({ nowMs, lease, reports: outbox.reports });
    const book = new ModelReconciliation({ ...tables, outbox, lagMs: LAG_MS });
    const periods = new ModelInvoicedPeriods({ ...tables, outbox });
    for (const customerId of CUSTOMERS) this.#ledger.boundaries.set(customerId, BOUNDARIES);
    this.#outbox = outbox;
    this.#flushRequests = requests;
    this.#reconciliation = book;
    const none = { openReports: 0, otherSinkReports: 0, heldReports: 0, unmappedWindows: 0, lagMs: 0 };
    this.reports = {
      plan: async (...args) => outbox.plan(...args),
      replaceClosed: async (...args) => outbox.replaceClosed(...args),
      claim: async (grant, limit) => outbox.claim(grant, "v1", limit),
      settle: async (grant, settled) => outbox.settle(grant, settled),
      backlog: async () => none,
      deadlines: async () => [],
    };
    this.requests = {
      request: async (customerId) => requests.request(customerId),
      unplanned: async () => requests.unplanned(),
      planned: async (...args) => requests.planned(...args),
      complete: async (...args) => requests.complete(...args),
      isComplete: async (id) => requests.isComplete(id),
    };
    this.lease = {
      acquire: async (...args) => lease.acquire(...args),
      renew: async (grant) => lease.renew(grant),
      release: async (grant) => lease.release(grant),
    };
    this.reconciliation = {
      due: async (lagMs, _onlyAsked, after, limit) => book.due(lagMs, after, limit),
      cutRequests: async () => {},
      settle: async (...args) => book.settle(...args),
      look: () => Promise.reject(new Error("not compared")),
      answered: async (grant, of, readAtMs, done, waiting) => book.answered(grant, of, readAtMs, done, waiting),
      state: async () => book.state(),
    };
    this.periods = { close: async (...args) => periods.close(...args) };
  }

  nowMs(): number {
    return this.#nowMs;
  }

  async moveTo(nowMs: number): Promise<void> {
    this.#nowMs = nowMs;
  }

  async addUsage(customerId: string, eventName: string, windowStartMs: number, quantity: bigint): Promise<void> {
    this.#ledger.windowAt({ customerId, eventName, payload: "{}", windowStartMs }, windowStartMs + 60_000).total +=
      quantity;
  }

  async saveInvoice({ finalizesMs, billed, ...period }: PeriodState): Promise<void> {
    const { stripeCustomerId, eventName } = period;
    const invoiceId = `in_${stripeCustomerId}_${eventName}_${period.startMs}`;
    const isFinal = billed !== undefined;
    const times = { finalizesMs: isFinal ? undefined : finalizesMs, finalizedMs: isFinal ? finalizesMs : undefined };
    this.#billing.save({ ...period, ...times, invoiceId, billed });
    this.#outbox.setDeadlines(stripeCustomerId, eventName, period, finalizesMs);
  }

  async map(customerId: string, stripeCustomerId: string): Promise<void> {
    this.#billing.map(customerId, stripeCustomerId);
  }

  async rows(): Promise<Rows> {
    const reports = [...this.#outbox.reports.values()].map((r) => [
      r.identifier,
      r.stripeCustomerId,
      r.kind,
      String(r.value),
      r.timestampMs,
      r.late,
      r.state,
      r.reason,
      r.attempts,
      r.sink,
      r.firstAttemptMs ?? null,
      r.nextAttemptMs,
      r.settledMs ?? null,
      r.reconciledMs ?? null,
      r.finalizesAtMs ?? null,
    ]);
    const windows = [...this.#ledger.windows.values()].map((w) => [
      w.customerId,
      w.eventName,
      w.windowStartMs,
      String(w.total),
      String(w.reported),
      String(w.accepted),
      w.nextSequence,
    ]);
    const drifts = this.#reconciliation.drifts.map((d) => [
      d.stripeCustomerId,
      d.eventName,
      d.startMs,
      d.endMs,
      String(d.expected),
      String(d.counted),
      d.explanation,
      d.state,
      d.state === "open" ? [d.hindrance, d.foundMs, d.lookAtMs] : [],
    ]);
    const hours = [...this.#outbox.requestedHours.values()].map((h) => [
      h.stripeCustomerId,
      h.eventName,
      h.startMs,
      h.requestedMs,
    ]);
    const periods = this.#billing.periods.map((p) => [
      p.stripeCustomerId,
      p.eventName,
      p.startMs,
      p.billed === undefined ? null : String(p.billed),
      p.billed !== undefined && p.closed,
    ]);
    const requests = this.#flushRequests.rows.map((f) => [
      Number(f.requestId),
      f.plannedMs ?? null,
      f.doneMs !== undefined,
    ]);
    return {
      reports: inOrder(reports),
      windows: inOrder(windows),
      drifts: inOrder(drifts),
      hours: inOrder(hours),
      periods: inOrder(periods),
      requests: inOrder(requests),
    };
  }
}
