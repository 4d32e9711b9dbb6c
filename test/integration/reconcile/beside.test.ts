// Reconciliation runs beside the flush, in the same tenure: neither holds up the other, and both end together.
import { expect, test, vi } from "vitest";
import { FLUSH_SETTINGS, Flush } from "../../../src/app/flush.ts";
import { LEASE_TIMING, runWhileHeld, type Tenure } from "../../../src/app/hold-lease.ts";
import { leadAll } from "../../../src/app/lead.ts";
import { postgresFlushRequests } from "../../../src/postgres/flush-requests.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { expireLease, LEASE, silent, unobserved } from "../flush/harness.ts";
import { MINUTE_MS, startWorld, storedReports, windowSums } from "./harness.ts";

test("while Stripe's sums cannot be read, usage still goes there; once they can, it is confirmed", async () => {
  const world = await startWorld({ intervalMs: 50, pollMs: 10, lagMs: 0 });
  const { pool, simulator, stripe, reports, use, clock } = world;
  await expireLease(pool);
  const summaries = "GET /v1/billing/meters/:id/event_summaries";
  simulator.addFault({ route: summaries, kind: "bad_gateway" });
  const flush = new Flush({
    reports,
    requests: postgresFlushRequests(pool, LEASE),
    sink: stripeMeterEvents(stripe, 2_000),
    deploymentId: "test",
    lateUsage: "current_period",
    settings: { ...FLUSH_SETTINGS, pollMs: 10, intervalMs: 50 },
    clock,
    logger: silent,
    observer: unobserved,
  });
  const reconcile = world.reconcile();
  const stop = new AbortController();
  const lease = postgresLease(pool, LEASE);
  const holder = { lease, holder: "test", timing: LEASE_TIMING, clock, logger: silent };
  const lead = (tenure: Tenure) => leadAll(tenure, [(t) => flush.run(t), (t) => reconcile.run(t)]);
  const leading = runWhileHeld(holder, stop.signal, lead);
  for (let minute = 0; minute < 5; minute++) {
    await use(minute, 1n);
    await vi.waitFor(async () => expect((await windowSums(pool)).accepted).toBe(BigInt(minute + 1)), 10_000);
  }
  expect((await storedReports(pool)).filter((r) => r.reconciled_at !== null)).toEqual([]);
  simulator.clearFaults();
  await vi.waitFor(
    async () => expect((await storedReports(pool)).filter((r) => r.reconciled_at === null)).toEqual([]),
    30_000,
  );
  stop.abort();
  await leading;
});

test("a stop does not wait for an answer of Stripe's", async () => {
  const world = await startWorld({ intervalMs: 50, pollMs: 10 });
  const { simulator, use, flush, later, tenure, reconcile } = world;
  await use(3, 5n);
  await flush();
  await later();
  const delayMs = MINUTE_MS;
  simulator.addFault({ route: "GET /v1/billing/meters/:id/event_summaries", kind: "slow_answer", delayMs });
  const stop = new AbortController();
  const running = reconcile().run({ ...tenure, stopping: stop.signal, mayBegin: () => !stop.signal.aborted });
  await vi.waitFor(() => expect(simulator.state().faults.struck).toBe(1), 10_000);
  const stoppedMs = performance.now();
  stop.abort();
  await running;
  expect(performance.now() - stoppedMs).toBeLessThan(2_000);
});
