// What the reconciliation tests share: a leader's two works over real Postgres, the official SDK and a simulated Stripe, one step at a time.
import type Stripe from "stripe";
import { expect, onTestFinished } from "vitest";
import type { Tenure } from "../../../src/app/hold-lease.ts";
import type { MeterSummaries, Reconciliation } from "../../../src/app/ports/reconciliation.ts";
import type { MeterSink, SinkName } from "../../../src/app/ports/reports.ts";
import { RECONCILE_SETTINGS, Reconcile, type ReconcileSettings } from "../../../src/app/reconcile.ts";
import { sendRound } from "../../../src/app/send-round.ts";
import { type PendingWindow, planReports } from "../../../src/domain/report.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresReconciliation } from "../../../src/postgres/reconciliation.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { stripeMeterStream } from "../../../src/stripe/meter-stream.ts";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import { stripeSummaries } from "../../../src/stripe/summaries.ts";
import { startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { testClock } from "../../support/clock.ts";
import { type TestDatabase, useServedDatabase } from "../../support/postgres.ts";
import { addUsage, LEASE, silent, type Usage } from "../flush/harness.ts";

export const HOUR_MS = 3_600_000;
export const MINUTE_MS = 60_000;
/** The beginning of an hour that is over. */
export const PAST_HOUR_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 3 * HOUR_MS;
/** A little more than the lag. */
const LATER = 11 * MINUTE_MS;
const never = new AbortController().signal;

export interface World extends Awaited<ReturnType<typeof startWorld>> {}

export interface WorldOptions {
  /** Where the database's clock stands. */
  readonly databaseNowMs?: number;
  /** Default v1. */
  readonly sink?: SinkName;
}

export async function startWorld(
  settings: Partial<ReconcileSettings> = {},
  { databaseNowMs, sink: sinkName }: WorldOptions = {},
) {
  const database = await useServedDatabase();
  const pool = databaseNowMs === undefined ? database.pool : await clockStands(database, databaseNowMs);
  const simulator = await startStripeSimulator({ seed: "reconcile" });
  onTestFinished(() => simulator.close());
  const apiBase = new URL(simulator.url);
  const stripe = openStripe({ secretKey: "sk_test_1", apiBase, maxSockets: 16, timeoutMs: 5_000 });
  await ensureMeters(stripe, ["tokens", "requests"]);
  const customer = (await stripe.customers.create()).id;
  const lease = postgresLease(pool, LEASE);
  const grant = (await lease.acquire("test", 600_000)) ?? expect.fail("the lease is held");
  const tenure: Tenure = { grant, signal: never, stopping: never, mayBegin: () => true };
  const clock = testClock();
  const sink = sinkName === "stream" ? stripeMeterStream(stripe, clock, 2_000) : stripeMeterEvents(stripe, 2_000);
  const policy = { ...RECONCILE_SETTINGS, readsPerSecondMax: 1_000, ...settings };
  const book = postgresReconciliation(pool, LEASE, policy.lagMs);
  const summaries = stripeSummaries(stripe, clock);
  const reports = postgresReports(pool, LEASE, sink.name);

  /** A reconciliation over these parts, or some that stand in front of them. */
  const reconcile = (parts: { book?: Reconciliation; summaries?: MeterSummaries } = {}) => {
    const observer = { compared() {}, repaired() {}, state() {} };
    return new Reconcile({
      book,
      summaries,
      deploymentId: "test",
      settings: policy,
      clock,
      logger: silent,
      observer,
      ...parts,
    });
  };
  const flush = async (through: MeterSink = sink) => {
    let after: Awaited<ReturnType<typeof reports.plan>>["next"];
    const scope = { customerId: undefined, includeOpen: false };
    do {
      const plan = (windows: readonly PendingWindow[], nowMs: number) =>
        planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs });
      after = (await reports.plan(grant, scope, after, 500, plan)).next;
    } while (after !== undefined);
    for (;;) {
      const { claimed, held } = await reports.claim(grant, 200);
      const limits = { concurrency: 16, limitMs: 30_000 };
      const { settled } = await sendRound(claimed, through, tenure, async () => {}, limits, clock);
      await reports.settle(grant, settled);
      if (claimed.length === 0 && held.length === 0) return;
    }
  };
  const pass = (parts?: Parameters<typeof reconcile>[0]) => reconcile(parts).pass(tenure);
  return {
    pool,
    /** For commands that work on this deployment. */
    environment: {
      DATABASE_URL: database.url,
      STRIPE_SECRET_KEY: "sk_test_1",
      STRIPE_API_BASE: simulator.url,
      METERING_RECONCILE_LAG: "10m",
    },
    simulator,
    sink,
    stripe,
    customer,
    tenure,
    book,
    summaries,
    reports,
    reconcile,
    clock,
    /** Plans what is closed, and sends until nothing is due. */
    flush,
    pass,
    /** Time goes by: for the rows, as if all of it had been written earlier. Stripe's clock stands. */
    age: (ms: number) => age(pool, ms),
    /** As long later as a drift needs to be looked at again. */
    later: () => age(pool, LATER),
    /** Usage of the customer in a minute of the past hour. */
    use: (minute: number, quantity: bigint, more: Partial<Usage> = {}) =>
      addUsage(pool, { customerId: customer, windowStartMs: PAST_HOUR_MS + minute * MINUTE_MS, quantity, ...more }),
    counted: (eventName = "tokens") => BigInt(simulator.sum(eventName, customer)),
    /** A meter event that is not ours. */
    foreign: (minute: number, value: bigint, more: Partial<Stripe.Billing.MeterEventCreateParams> = {}) =>
      stripe.billing.meterEvents.create({
        event_name: "tokens",
        payload: { stripe_customer_id: customer, value: value.toString() },
        timestamp: (PAST_HOUR_MS + minute * MINUTE_MS) / 1000,
        ...more,
      }),
    /** Has Stripe forget an event, behind our back. */
    vanish: (identifier: string) =>
      stripe.billing.meterEventAdjustments.create({ event_name: "tokens", type: "cancel", cancel: { identifier } }),
  };
}

/** A pool over whose connections now() is another function: found first, since the search path names pg_catalog after it. */
async function clockStands({ pool, connect }: TestDatabase, nowMs: number): Promise<Pool> {
  await pool.query("CREATE SCHEMA standing");
  await pool.query(
    `CREATE FUNCTION standing.now() RETURNS timestamptz STABLE LANGUAGE sql RETURN timestamptz '${new Date(nowMs).toISOString()}'`,
  );
  // A default is bound to the function that was found when it was made.
  await pool.query("ALTER TABLE report ALTER next_attempt_at SET DEFAULT standing.now()");
  const { rows } = await pool.query<{ name: string }>("SELECT current_database() AS name");
  await pool.query(`ALTER DATABASE ${rows[0]?.name} SET search_path = standing, pg_catalog, public`);
  return connect();
}

async function age(pool: Pool, ms: number): Promise<void> {
  const by = `${ms} milliseconds`;
  await pool.query(
    `UPDATE report SET first_attempt_at = first_attempt_at - $1::interval, settled_at = settled_at - $1::interval,
       next_attempt_at = next_attempt_at - $1::interval`,
    [by],
  );
  await pool.query(
    `UPDATE drift SET found_at = found_at - $1::interval, looked_at = looked_at - $1::interval, look_at = look_at - $1::interval`,
    [by],
  );
  await pool.query("UPDATE reconcile_request SET requested_at = requested_at - $1::interval", [by]);
}

/** Sums, and how often they were read. */
export function countReads(summaries: MeterSummaries): MeterSummaries & { reads: number } {
  const counting = {
    reads: 0,
    hours(...args: Parameters<MeterSummaries["hours"]>) {
      counting.reads += 1;
      return summaries.hours(...args);
    },
    sum(...args: Parameters<MeterSummaries["sum"]>) {
      counting.reads += 1;
      return summaries.sum(...args);
    },
  };
  return counting;
}

export interface StoredReport {
  identifier: string;
  kind: string;
  origin: string | null;
  value: string;
  state: string;
  reason: string;
  reconciled_at: Date | null;
}

export async function storedReports(pool: Pool): Promise<StoredReport[]> {
  return (
    await pool.query<StoredReport>("SELECT * FROM report ORDER BY event_name, event_timestamp, payload, sequence")
  ).rows;
}

export async function storedDrifts(pool: Pool): Promise<Record<string, unknown>[]> {
  return (
    await pool.query(
      `SELECT explanation, state, hindrance, expected::int, counted::int,
         (extract(epoch FROM span_start - $1::timestamptz) / 60)::int AS from_minute,
         (extract(epoch FROM span_end - $1::timestamptz) / 60)::int AS to_minute
       FROM drift ORDER BY span_start, drift_id`,
      [new Date(PAST_HOUR_MS)],
    )
  ).rows;
}

/** What was recorded, and what Stripe is believed to bill. */
export async function windowSums(pool: Pool): Promise<{ total: bigint; accepted: bigint }> {
  const { rows } = await pool.query<{ total: string; accepted: string }>(
    "SELECT coalesce(sum(total), 0) AS total, coalesce(sum(accepted), 0) AS accepted FROM pending_window",
  );
  return { total: BigInt(rows[0]?.total ?? 0), accepted: BigInt(rows[0]?.accepted ?? 0) };
}

/** Everything that was recorded is with Stripe, once, as Stripe and the ledger agree, and nothing is left to be done. */
export async function expectSettled(world: World): Promise<void> {
  const { pool, counted, later, pass } = world;
  const { total, accepted } = await windowSums(pool);
  expect({ accepted, counted: counted() }).toEqual({ accepted: total, counted: total });
  await later();
  await pass();
  const left = (await storedReports(pool)).filter((r) => r.reconciled_at === null);
  expect(left).toEqual([]);
  expect((await pool.query("SELECT FROM reconcile_request")).rowCount).toBe(0);
}

/** The one at an index. */
export function at<T>(rows: readonly T[], i: number): T {
  return rows[i] ?? expect.fail(`no row ${i}`);
}

/** Looks, waits for the second look, looks again, and sends what that planned. */
export async function twoLooks(world: World): Promise<void> {
  await world.pass();
  await world.later();
  await world.pass();
  await world.flush();
}
