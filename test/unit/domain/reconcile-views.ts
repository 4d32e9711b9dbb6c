// Spans and reports as tests of reconciliation need them.
import { expect } from "vitest";
import type { SpanReport } from "../../../src/domain/explain-drift.ts";
import { decide, type ReconcilePolicy, type SpanView, type Verdict } from "../../../src/domain/reconcile.ts";
import { HELD_OUTCOME_UNKNOWN, identifierOf } from "../../../src/domain/report.ts";

export const HOUR_MS = 3_600_000;
export const NOW_MS = Date.UTC(2026, 9, 10, 12);
export const START_MS = NOW_MS - 3 * HOUR_MS;
export const LAG_MS = 600_000;
export const AUTOMATIC: ReconcilePolicy = { lagMs: LAG_MS, repairLimit: 1_000n, apply: undefined };
export const APPLY: ReconcilePolicy = { ...AUTOMATIC, apply: "repair" };

let sequence = 0;

/** Two sequences that no report has. */
export function takeTwo(): number {
  sequence += 2;
  return sequence;
}

/** Of a sequence of its own. */
export function report(value: bigint, fields: Partial<SpanReport> = {}): SpanReport {
  sequence += 1;
  const window = { customerId: "acme", eventName: "tokens", payload: "{}", windowStartMs: START_MS };
  return {
    ...window,
    identifier: identifierOf("test", window, sequence),
    kind: "usage",
    origin: undefined,
    stripeCustomerId: "cus_1",
    sequence,
    value,
    timestampMs: START_MS,
    late: false,
    state: "accepted",
    reason: "",
    firstAttemptMs: NOW_MS - 2 * HOUR_MS,
    settledMs: NOW_MS - 2 * HOUR_MS,
    ...fields,
  };
}

export const unknown = (value: bigint, fields: Partial<SpanReport> = {}) =>
  report(value, {
    state: "held",
    reason: HELD_OUTCOME_UNKNOWN,
    firstAttemptMs: NOW_MS - 24 * HOUR_MS,
    settledMs: NOW_MS - HOUR_MS,
    ...fields,
  });

export function view(counted: bigint, reports: readonly SpanReport[], fields: Partial<SpanView> = {}): SpanView {
  return {
    startMs: START_MS,
    endMs: START_MS + 60_000,
    stripeCustomerId: "cus_1",
    eventName: "tokens",
    customerId: "acme",
    counted,
    readAtMs: NOW_MS - 1_000,
    nowMs: NOW_MS,
    reports,
    boundariesMs: [],
    errors: [],
    drafts: [],
    finals: [],
    open: undefined,
    ...fields,
  };
}

/** A second look, long enough after the first, which found the same. */
export function again(first: SpanView, policy: ReconcilePolicy): Verdict {
  const verdict = decide(first, policy);
  expect(verdict).toMatchObject({ kind: "open", hindrance: "unconfirmed" });
  if (verdict.kind !== "open") return verdict;
  const { expected, counted } = verdict.drift;
  const open = { expected, counted, foundAtMs: first.readAtMs - LAG_MS };
  return decide({ ...first, open }, policy);
}
