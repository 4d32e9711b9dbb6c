// The flush over the real SDK against the simulated Stripe, with everything that can go wrong on the way.
import type Stripe from "stripe";
import { describe, expect, test, vi } from "vitest";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import type { StripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { startCheckedSimulator } from "../../support/checked-simulator.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { pickSeed } from "../../support/seed.ts";
import { addUsage, CLOSED_MS, ledgerSums, reportRows, startLeader } from "./harness.ts";

const EVENTS = ["input_tokens", "output_tokens"];
const ROUTE = "POST /v1/billing/meter_events";

async function startStripe(seed = "flush"): Promise<{ simulator: StripeSimulator; stripe: Stripe }> {
  const simulator = await startCheckedSimulator({ seed });
  const apiBase = new URL(simulator.url);
  return { simulator, stripe: openStripe({ secretKey: "sk_test_1", apiBase, maxSockets: 16, timeoutMs: 500 }) };
}

/** Usage of several customers, windows and meters. */
function usageOf(customers: readonly string[], windows: number) {
  return customers.flatMap((customerId, c) =>
    Array.from({ length: windows }, (_, w) =>
      EVENTS.map((eventName, e) => {
        return {
          customerId,
          eventName,
          windowStartMs: CLOSED_MS - w * 60_000,
          quantity: BigInt(1_000 * c + 10 * w + e + 1),
        };
      }),
    ).flat(),
  );
}

test("what Stripe counts is what was recorded, through every fault there is", async () => {
  const seed = pickSeed();
  const { pool } = await useServedDatabase();
  const { simulator, stripe } = await startStripe(String(seed));
  await ensureMeters(stripe, EVENTS);
  const customers = await Promise.all([1, 2, 3, 4].map(async () => (await stripe.customers.create()).id));
  await addUsage(pool, ...usageOf(customers, 10));
  simulator.setMeterConcurrency({ enabled: true, holdMs: 1 });
  const faults = [
    { kind: "rate_limited", rate: 0.03 },
    { kind: "lock_timeout", rate: 0.03 },
    { kind: "conflict", rate: 0.05 },
    { kind: "server_error", rate: 0.05, processed: true },
    { kind: "server_error", rate: 0.05, processed: false },
    { kind: "bad_gateway", rate: 0.05, processed: true },
    { kind: "reset_before", rate: 0.05 },
    { kind: "reset_after", rate: 0.05 },
    { kind: "truncated", rate: 0.05 },
    { kind: "slow_answer", rate: 0.02, delayMs: 700 },
    { kind: "slow_processing", rate: 0.02, delayMs: 700 },
  ] as const;
  for (const fault of faults) simulator.addFault({ route: ROUTE, ...fault });
  const leader = startLeader(pool, { sink: stripeMeterEvents(stripe, 2_000), settings: { intervalMs: 100 } });
  // Retries wait up to minutes; here they need not.
  const hurry = setInterval(
    () =>
      void pool
        .query("UPDATE report SET next_attempt_at = now() WHERE state IN ('planned', 'unknown')")
        .catch(() => {}),
    200,
  );
  try {
    await vi.waitFor(async () => {
      const { total, accepted } = await ledgerSums(pool);
      expect(accepted, `SEED=${seed}`).toEqual(total);
    }, 50_000);
  } finally {
    clearInterval(hurry);
  }
  await leader.stop();
  const { total } = await ledgerSums(pool);
  for (const [key, sum] of total) {
    const [customer = "", eventName = ""] = key.split(" ");
    expect(simulator.sum(eventName, customer), `SEED=${seed}`).toBe(sum.toString());
  }
  expect(simulator.meterEvents()).toHaveLength((await reportRows(pool)).length);
  expect(simulator.state().faults.struck).toBeGreaterThan(10);
});

test("usage lies in the minute it happened in, as Stripe's summaries show", async () => {
  const { pool } = await useServedDatabase();
  const { stripe } = await startStripe();
  const [meter] = await ensureMeters(stripe, ["input_tokens"]);
  const { id } = await stripe.customers.create();
  await pool.query("INSERT INTO account VALUES ('acme', $1)", [id]);
  await addUsage(pool, { customerId: "acme", eventName: "input_tokens", windowStartMs: CLOSED_MS, quantity: 5n });
  await addUsage(pool, {
    customerId: "acme",
    eventName: "input_tokens",
    windowStartMs: CLOSED_MS - 60_000,
    quantity: 7n,
  });
  startLeader(pool, { sink: stripeMeterEvents(stripe, 2_000) });
  await vi.waitFor(async () => {
    const { total, accepted } = await ledgerSums(pool);
    expect(accepted).toEqual(total);
  }, 55_000);
  const seconds = CLOSED_MS / 1000;
  const summaries = await stripe.billing.meters.listEventSummaries(meter?.meterId ?? "", {
    customer: id,
    start_time: seconds,
    end_time: seconds + 60,
  });
  expect(summaries.data.map((s) => s.aggregated_value)).toEqual([5]);
});

test("what Stripe refuses is held with its reason, and holds nothing else up", async () => {
  const { pool } = await useServedDatabase();
  const { simulator, stripe } = await startStripe();
  await ensureMeters(stripe, ["input_tokens"]);
  const { id } = await stripe.customers.create();
  await addUsage(
    pool,
    { customerId: id, eventName: "input_tokens", quantity: 5n },
    { customerId: id, eventName: "no_such_meter" },
    // Too old for Stripe: billed as late usage.
    { customerId: id, eventName: "input_tokens", windowStartMs: CLOSED_MS - 36 * 86_400_000 },
    { customerId: "cus_of_nobody", eventName: "input_tokens" },
  );
  startLeader(pool, { sink: stripeMeterEvents(stripe, 2_000) });
  await vi.waitFor(async () => {
    const held = await pool.query("SELECT reason FROM report WHERE state = 'held' ORDER BY reason");
    expect(held.rows.map((row) => row.reason)).toEqual(["no_active_meter", "no_such_customer"]);
  }, 55_000);
  await vi.waitFor(() => expect(simulator.sum("input_tokens", id)).toBe("6"), 55_000);
});

test("Stripe away for a while: nothing is held, and all arrives when it is back", async () => {
  const { pool } = await useServedDatabase();
  const { simulator, stripe } = await startStripe();
  await ensureMeters(stripe, ["input_tokens"]);
  const { id } = await stripe.customers.create();
  await addUsage(pool, { customerId: id, eventName: "input_tokens", quantity: 5n });
  simulator.addFault({ route: ROUTE, kind: "bad_gateway" });
  startLeader(pool, { sink: stripeMeterEvents(stripe, 2_000) });
  await vi.waitFor(
    async () => expect(await reportRows(pool)).toMatchObject([{ state: "unknown", attempts: 2 }]),
    10_000,
  );
  simulator.clearFaults();
  await vi.waitFor(async () => expect(await reportRows(pool)).toMatchObject([{ state: "accepted" }]), 20_000);
  expect(simulator.sum("input_tokens", id)).toBe("5");
});

describe("ensureMeters", () => {
  test("creates what is missing, finds what is there, in the order asked", async () => {
    const { stripe } = await startStripe();
    const first = await ensureMeters(stripe, ["b", "a"]);
    expect(first).toMatchObject([
      { eventName: "b", state: "created", advice: "" },
      { eventName: "a", state: "created" },
    ]);
    const again = await ensureMeters(stripe, ["a", "b", "c"]);
    expect(again.map((m) => m.state)).toEqual(["found", "found", "created"]);
    expect(again[0]?.meterId).toBe(first[1]?.meterId);
  });

  test("finds meters beyond the first page", async () => {
    const { stripe } = await startStripe();
    const names = Array.from({ length: 120 }, (_, i) => `event_${i}`);
    await ensureMeters(stripe, names);
    expect((await ensureMeters(stripe, names)).every((m) => m.state === "found")).toBe(true);
  });

  test("two at once end with one meter each", async () => {
    const { stripe } = await startStripe();
    const both = await Promise.all([ensureMeters(stripe, ["a", "b"]), ensureMeters(stripe, ["a", "b"])]);
    expect(both[0]?.map((m) => m.meterId)).toEqual(both[1]?.map((m) => m.meterId));
  });

  test("leaves an inactive meter inactive, and says so", async () => {
    const { stripe } = await startStripe();
    const [meter] = await ensureMeters(stripe, ["a"]);
    await stripe.billing.meters.deactivate(meter?.meterId ?? "");
    expect(await ensureMeters(stripe, ["a"])).toMatchObject([
      { state: "inactive", advice: expect.stringContaining("reactivate") },
    ]);
    expect((await stripe.billing.meters.retrieve(meter?.meterId ?? "")).status).toBe("inactive");
  });

  test("says what is wrong with a meter that would count something else", async () => {
    const { stripe } = await startStripe();
    await stripe.billing.meters.create({
      display_name: "a",
      event_name: "a",
      default_aggregation: { formula: "count" },
      customer_mapping: { type: "by_id", event_payload_key: "who" },
    });
    const [meter] = await ensureMeters(stripe, ["a"]);
    expect(meter).toMatchObject({ state: "unfit", advice: expect.stringMatching(/count, not sum.*"who"/) });
  });

  test("rejects when the key may not do this", async () => {
    const { simulator } = await startStripe();
    const apiBase = new URL(simulator.url);
    const stranger = openStripe({ secretKey: "nonsense", apiBase, maxSockets: 1, timeoutMs: 500 });
    await expect(ensureMeters(stranger, ["a"])).rejects.toMatchObject({ statusCode: 401 });
  });
});
