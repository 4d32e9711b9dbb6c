import { expect, test } from "vitest";
import { createMetrics } from "../../../src/process/metrics.ts";

test("what was observed is what is read", async () => {
  let nowMs = 0;
  const metrics = createMetrics(() => nowMs);
  metrics.rpc.callEnded("RecordUsage", "OK", 2);
  metrics.rpc.recordEnded("recorded");
  metrics.rpc.recordEnded("duplicate");
  metrics.rpc.openStreams(1);
  metrics.rpc.openStreams(1);
  metrics.rpc.openStreams(-1);
  metrics.intakeDurable(false);
  metrics.webhookDelivery("stored");
  metrics.drain.applied(0, ["applied", "applied", "key_reused"]);
  metrics.drain.position(0, 1_500, 7);
  metrics.drain.position(1, 250, 2);
  metrics.drain.gap(1, "new_epoch");
  metrics.flush.planned(3);
  metrics.flush.held("outcome_unknown", 2);
  metrics.flush.backlog({ openReports: 4, otherSinkReports: 3, heldReports: 2, unmappedWindows: 1, lagMs: 10_000 }, [
    { kind: "invoice", tightestInMs: -60_000, waiting: 3, overdue: 1 },
    { kind: "resend", tightestInMs: null, waiting: 0, overdue: 0 },
  ]);
  metrics.reconcile.compared("agree", 7);
  metrics.reconcile.repaired(-5n);
  metrics.reconcile.repaired(3n);
  const openDrifts = { never_sent: 0, unknown: 0, refused: 0, counted_twice: 0, foreign: 2 };
  metrics.reconcile.state({ openDrifts, oldestUnreconciledMs: 60_000 });
  nowMs = 5_000;
  const text = await metrics.registry.metrics();
  for (const line of [
    'metering_rpc_seconds_count{rpc="RecordUsage",code="OK"} 1',
    'metering_records_total{result="recorded"} 1',
    'metering_records_total{result="duplicate"} 1',
    "metering_open_streams 1",
    "metering_intake_durable 0",
    'metering_webhook_deliveries_total{outcome="stored"} 1',
    'metering_drained_records_total{outcome="applied"} 2',
    'metering_drained_records_total{outcome="key_reused"} 1',
    "metering_watermark_lag_seconds 1.5",
    "metering_buffer_entries 9",
    'metering_gaps_total{reason="new_epoch"} 1',
    'metering_gaps_total{reason="lost_entries"} 0',
    "metering_reports_planned_total 3",
    'metering_reports_held_total{reason="outcome_unknown"} 2',
    'metering_outbox{what="other_sink_reports"} 3',
    'metering_outbox{what="held_reports"} 2',
    "metering_outbox_lag_seconds 15",
    'metering_deadline_seconds{kind="invoice"} -60',
    'metering_deadline_seconds{kind="resend"} +Inf',
    'metering_overdue{kind="invoice"} 1',
    'metering_compared_spans_total{result="agree"} 7',
    'metering_repaired_quantity_total{direction="added"} 5',
    'metering_repaired_quantity_total{direction="removed"} 3',
    'metering_drift_open{explanation="foreign"} 2',
    'metering_drift_open{explanation="never_sent"} 0',
    "metering_unreconciled_age_seconds 65",
  ])
    expect(text.split("\n")).toContain(line);
  // A shard that went to another process no longer counts here.
  nowMs = 20_000;
  metrics.drain.position(1, 250, 2);
  expect(await metrics.registry.metrics()).toContain("metering_buffer_entries 2\n");
});

test("labels stay few, whatever Stripe answers", async () => {
  const metrics = createMetrics(() => 0);
  for (let i = 0; i < 1_000; i++) metrics.flush.held(`code_${i}`, 1);
  const held = (await metrics.registry.metrics())
    .split("\n")
    .filter((line) => line.startsWith("metering_reports_held_total{"));
  expect(held.length).toBeLessThanOrEqual(51);
  expect(held.at(-1)).toBe('metering_reports_held_total{reason="other"} 950');
});

test("what a leader knew is not said once it leads no more", async () => {
  let nowMs = 0;
  const metrics = createMetrics(() => nowMs);
  metrics.leading(true);
  metrics.flush.backlog({ openReports: 1, otherSinkReports: 0, heldReports: 9, unmappedWindows: 0, lagMs: 60_000 }, [
    { kind: "age", tightestInMs: -1, waiting: 1, overdue: 1 },
  ]);
  const openDrifts = { never_sent: 0, unknown: 0, refused: 0, counted_twice: 0, foreign: 2 };
  metrics.reconcile.state({ openDrifts, oldestUnreconciledMs: 60_000 });
  metrics.leading(false);
  nowMs = 60_000;
  const text = await metrics.registry.metrics();
  expect(text).not.toMatch(/^metering_(outbox|overdue|deadline_seconds|drift_open)\{/m);
  expect(text).toMatch(/^metering_outbox_lag_seconds 0$/m);
  expect(text).toMatch(/^metering_unreconciled_age_seconds 0$/m);
});

test("a process that takes no records does not call the intake weak", async () => {
  expect(await createMetrics().registry.metrics()).not.toMatch(/^metering_intake_durable /m);
});
