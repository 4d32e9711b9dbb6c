// Requests for flushes, as plainly as they can be said: what the statements flush-request-*.sql do.
import type { FlushRequest, LeaseGrant, SinkName } from "../../../src/app/ports/reports.ts";
import { DAY_MS } from "../../../src/domain/window.ts";
import type { ModelLease } from "./lease.ts";
import { isOpen, type ReportRow } from "./report-row.ts";

interface FlushRequestRow extends FlushRequest {
  plannedMs: number | undefined;
  doneMs: number | undefined;
}

export interface FlushRequestsOptions {
  readonly nowMs: () => number;
  readonly lease: ModelLease;
  readonly reports: ReadonlyMap<string, ReportRow>;
}

export class ModelFlushRequests {
  readonly #rows = new Map<bigint, FlushRequestRow>();
  readonly #options: FlushRequestsOptions;
  #lastId = 0n;

  constructor(options: FlushRequestsOptions) {
    this.#options = options;
  }

  get rows(): readonly Readonly<FlushRequestRow>[] {
    return [...this.#rows.values()];
  }

  request(customerId: string | undefined): bigint {
    const yesterday = this.#options.nowMs() - DAY_MS;
    for (const { requestId, doneMs } of this.rows)
      if (doneMs !== undefined && doneMs < yesterday) this.#rows.delete(requestId);
    this.#lastId += 1n;
    const requestId = this.#lastId;
    this.#rows.set(requestId, { requestId, customerId, plannedMs: undefined, doneMs: undefined });
    return requestId;
  }

  unplanned(): readonly FlushRequest[] {
    return this.rows
      .filter(({ plannedMs, doneMs }) => plannedMs === undefined && doneMs === undefined)
      .map(({ requestId, customerId }) => ({ requestId, customerId }))
      .slice(0, 1_000);
  }

  planned(grant: LeaseGrant, requestIds: readonly bigint[]): void {
    this.#options.lease.fence(grant);
    for (const row of this.#rows.values())
      if (requestIds.includes(row.requestId)) row.plannedMs ??= this.#options.nowMs();
  }

  complete(grant: LeaseGrant, sink: SinkName): number {
    const { lease, nowMs, reports } = this.#options;
    lease.fence(grant);
    const now = nowMs();
    const complete = [...this.#rows.values()].filter(({ plannedMs, doneMs, customerId }) => {
      if (doneMs !== undefined || plannedMs === undefined) return false;
      return ![...reports.values()].some(
        (r) =>
          isOpen(r) &&
          r.nextAttemptMs <= now &&
          r.plannedMs <= plannedMs &&
          (r.sink === "" || r.sink === sink) &&
          (customerId === undefined || r.customerId === customerId),
      );
    });
    for (const request of complete) request.doneMs = now;
    return complete.length;
  }

  isComplete(requestId: bigint): boolean {
    const row = this.#rows.get(requestId);
    return row === undefined || row.doneMs !== undefined;
  }
}
