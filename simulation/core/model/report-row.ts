// A row of the outbox.
import type { SinkName } from "../../../src/app/ports/reports.ts";
import type { PlannedReport, ReportState } from "../../../src/domain/report.ts";

export interface ReportRow extends Omit<PlannedReport, "finalizesAtMs" | "heldFor"> {
  finalizesAtMs: number | undefined;
  state: ReportState;
  reason: string;
  attempts: number;
  firstAttemptMs: number | undefined;
  nextAttemptMs: number;
  readonly plannedMs: number;
  settledMs: number | undefined;
  reconciledMs: number | undefined;
  leaseEpoch: bigint;
  sink: SinkName | "";
}

export function isOpen({ state }: Pick<ReportRow, "state">): boolean {
  return state === "planned" || state === "sending" || state === "unknown";
}
