// The flush through the stream, over the real SDK against the simulated Stripe, with everything that can go wrong on the way.
import type Stripe from "stripe";
import { expect, onTestFinished, test, vi } from "vitest";
import type { MeterSink } from "../../../src/app/ports/reports.ts";
import type { RoundCounts } from "../../../src/app/send-round.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterStream } from "../../../src/stripe/meter-stream.ts";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import { type StripeSimulator, startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { testClock } from "../../support/clock.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { pickSeed } from "../../support/seed.ts";
import { addUsage, CLOSED_MS, ledgerSums, reportRows, startLeader, unobserved } from "./harness.ts";

const EVENTS = ["input_tokens", "output_tokens"];
const STREAM = "POST /v2/billing/meter_event_stream";
const SESSION = "POST /v2/billing/meter_event_session";
/** Past the end of a validation window. */
const VALIDATED_MS = 20_000;

async function startStripe(seed = "stream"): Promise<{ simulator: StripeSimulator; stripe: Stripe }> {
  const simulator = await startStripeSimulator({ seed });
  onTestFinished(() => simulator.close());
  const apiBase = new URL(simulator.url);
  const stripe = openStripe({ secretKey: "sk_test_1", apiBase, maxSockets: 16, timeoutMs: 1_000 });
  await ensureMeters(stripe, EVENTS);
  return { simulator, stripe };
}

const sinkOf = (stripe: Stripe) => stripeMeterStream(stripe, testClock(), 2_000);

async function usageOf(stripe: Stripe, customerCount: number, windows: number) {
  const customers = await Promise.all(
    Array.from({ length: customerCount }, async () => (await stripe.customers.create()).id),
  );
  return customers.flatMap((customerId, c) =>
    EVENTS.flatMap((eventName, e) =>
      Array.from({ length: windows }, (_, w) => {
        return {
          customerId,
          eventName,
          windowStartMs: CLOSED_MS - w * 60_000,
          quantity: BigInt(1_000 * c + 10 * w + e + 1),
        };
      }),
    ),
  );
}

/** What Stripe counted, once it has looked at all that it took: just what was recorded, each identifier once. */
async function expectCountedOnce(pool: Parameters<typeof ledgerSums>[0], simulator: StripeSimulator, hint: string) {
  await simulator.advanceClock(VALIDATED_MS);
  for (const [key, sum] of (await ledgerSums(pool)).total) {
    const [customer = "", eventName = ""] = key.split(" ");
    expect(simulator.sum(eventName, customer), hint).toBe(sum.toString());
  }
  const identifiers = simulator.meterEvents().map((event) => event.identifier);
  expect(identifiers.toSorted(), hint).toEqual((await reportRows(pool)).map((row) => row.identifier).toSorted());
}

test("1,200 reports, through every fault there is: each quantity counts once", { timeout: 150_000 }, async () => {
  const seed = pickSeed();
  const hint = `SEED=${seed}`;
  const { pool } = await useServedDatabase();
  const { simulator, stripe } = await startStripe(String(seed));
  await addUsage(pool, ...(await usageOf(stripe, 12, 50)));
  const faults = [
    { kind: "rate_limited", rate: 0.01 },
    { kind: "lock_timeout", rate: 0.01 },
    { kind: "server_error", rate: 0.05, processed: true },
    { kind: "server_error", rate: 0.05, processed: false },
    { kind: "bad_gateway", rate: 0.05, processed: true },
    { kind: "reset_before", rate: 0.05 },
    { kind: "reset_after", rate: 0.1 },
    { kind: "truncated", rate: 0.1 },
    { kind: "session_expired", rate: 0.02 },
    { kind: "slow_answer", rate: 0.03, delayMs: 1_500 },
    { kind: "slow_processing", rate: 0.03, delayMs: 1_500 },
  ] as const;
  for (const fault of faults) simulator.addFault({ route: STREAM, ...fault });
  simulator.addFault({ route: SESSION, kind: "server_error", rate: 0.3, processed: true });
  // Small requests, so that there are enough of them for every fault.
  const leader = startLeader(pool, { sink: { ...sinkOf(stripe), batchMax: 20 } });
  // Retries wait up to minutes; here they need not.
  const hurry = setInterval(
    () =>
      void pool
        .query("UPDATE report SET next_attempt_at = now() WHERE state IN ('planned', 'unknown')")
        .catch(() => {}),
    300,
  );
  try {
    await vi.waitFor(async () => {
      const { total, accepted } = await ledgerSums(pool);
      expect(accepted, hint).toEqual(total);
    }, 120_000);
  } finally {
    clearInterval(hurry);
  }
  await leader.stop();
  expect(simulator.state().faults.struck, hint).toBeGreaterThan(5);
  await expectCountedOnce(pool, simulator, hint);
  // What is taken is not yet accepted: that is for the summaries to tell.
  expect((await pool.query("SELECT DISTINCT state, sink FROM report")).rows).toEqual([
    { state: "sent", sink: "stream" },
  ]);
  expect((await pool.query("SELECT sum(accepted) AS accepted FROM pending_window")).rows).toEqual([{ accepted: "0" }]);
});

test("a session that expires mid-way is replaced, and nothing is unknown for it", async () => {
  const { pool } = await useServedDatabase();
  const { simulator, stripe } = await startStripe();
  await addUsage(pool, ...(await usageOf(stripe, 6, 50)));
  const stream = sinkOf(stripe);
  let requests = 0;
  const sink: MeterSink = {
    ...stream,
    async send(...batch) {
      requests += 1;
      if (requests === 3) await simulator.advanceClock(15 * 60_000);
      return stream.send(...batch);
    },
  };
  const rounds: RoundCounts[] = [];
  const observer = { ...unobserved, sent: (counts: RoundCounts) => rounds.push(counts) };
  const settings = { sendBatch: 100, round: { concurrency: 1, limitMs: 30_000 } };
  const leader = startLeader(pool, { sink, observer, settings });
  await vi.waitFor(async () => {
    const rows = await reportRows(pool);
    expect(rows.length === 600 && rows.every((row) => row.state === "sent")).toBe(true);
  }, 55_000);
  await leader.stop();
  const sum = (kind: keyof RoundCounts) => rounds.reduce((total, counts) => total + counts[kind], 0);
  expect([sum("throttled"), sum("unknown"), sum("taken")]).toEqual([100, 0, 600]);
  await expectCountedOnce(pool, simulator, "");
});

test("a request that Stripe refuses because of one report: all others are taken, that one is held", async () => {
  const { pool } = await useServedDatabase();
  const { simulator, stripe } = await startStripe();
  const usage = await usageOf(stripe, 2, 30);
  await addUsage(pool, ...usage);
  // No event name is that long at Stripe; the simulator refuses the request for it, as for any parameter that does not fit.
  await addUsage(pool, { customerId: usage[0]?.customerId ?? "", eventName: "x".repeat(101), quantity: 3n });
  startLeader(pool, { sink: sinkOf(stripe) });
  await vi.waitFor(async () => {
    const states = Map.groupBy(await reportRows(pool), (row) => row.state);
    expect([states.get("sent")?.length, states.get("held")?.length]).toEqual([120, 1]);
  }, 55_000);
  const [held] = (await pool.query("SELECT event_name, reason, message FROM report WHERE state = 'held'")).rows;
  expect(held).toMatchObject({ event_name: "x".repeat(101), reason: "other" });
  await simulator.advanceClock(VALIDATED_MS);
  expect(simulator.meterEvents()).toHaveLength(120);
});
