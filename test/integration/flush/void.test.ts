// Voids on their way to Stripe: before the flush they net out to nothing, after it the next flush takes back what was sent.
import type Stripe from "stripe";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import { type StripeSimulator, startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { testCatalog } from "../../support/catalog.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { CLOSED_MS, ledgerSums, reportRows, startLeader } from "./harness.ts";

const SHARDS = 2;
const METER = "input_tokens";

interface World {
  readonly pool: Pool;
  readonly simulator: StripeSimulator;
  readonly customerId: string;
  /** Applies a record of so many tokens in one and the same minute; returns its key. */
  record(tokens: bigint): Promise<string>;
  void(idempotencyKey: string): Promise<string>;
  /** Starts a leader. */
  flush(): void;
  /** Waits until Stripe has what the ledger holds, and returns that. */
  settled(): Promise<bigint>;
}

async function world(): Promise<World> {
  const { pool } = await useServedDatabase();
  const simulator = await startStripeSimulator({ seed: "void" });
  onTestFinished(() => simulator.close());
  const options = { secretKey: "sk_test_1", apiBase: new URL(simulator.url), maxSockets: 4, timeoutMs: 2_000 };
  const stripe: Stripe = openStripe(options);
  await ensureMeters(stripe, [METER]);
  const { id: customerId } = await stripe.customers.create();
  const ledger = postgresLedger(pool, testCatalog(), SHARDS);
  const voids = postgresVoids(pool, testCatalog(), SHARDS);
  return {
    pool,
    simulator,
    customerId,
    async record(tokens) {
      const record = usageRecord({ customerId, eventTimeMs: CLOSED_MS + 5_000, measurements: { [METER]: tokens } });
      expect(await ledger.apply([record])).toMatchObject({ outcomes: ["applied"] });
      return record.idempotencyKey;
    },
    async void(idempotencyKey) {
      return (await voids.voidRecord({ customerId, idempotencyKey, reason: "test" })).kind;
    },
    flush: () => void startLeader(pool, { sink: stripeMeterEvents(stripe, 2_000), settings: { intervalMs: 50 } }),
    async settled() {
      await vi.waitFor(async () => {
        const { total, accepted } = await ledgerSums(pool);
        expect(accepted).toEqual(total);
      }, 55_000);
      const total = (await ledgerSums(pool)).total.get(`${customerId} ${METER}`) ?? 0n;
      expect(simulator.sum(METER, customerId)).toBe(total.toString());
      return total;
    },
  };
}

const valuesOf = async (pool: Pool) => (await reportRows(pool)).map((row) => row.value);

describe("a void", () => {
  test("before the flush: only what is left goes out, and nothing for a minute in which nothing is left", async () => {
    const { pool, record, void: voidKey, flush, settled, simulator } = await world();
    await record(5n);
    await voidKey(await record(7n));
    flush();
    expect(await settled()).toBe(5n);
    expect(await valuesOf(pool)).toEqual(["5"]);
    expect(simulator.meterEvents()).toHaveLength(1);
  });

  test("of all that there was, before the flush: Stripe hears nothing", async () => {
    const { pool, record, void: voidKey, flush, settled, simulator, customerId } = await world();
    await voidKey(await record(7n));
    // Another minute's report shows that the pass has come by.
    flush();
    await pool.query(
      `INSERT INTO pending_window (customer_id, window_start, event_name, window_end, total)
       VALUES ($1, to_timestamp($2), $3, to_timestamp($2 + 60), 1)`,
      [customerId, CLOSED_MS / 1000 + 120, METER],
    );
    expect(await settled()).toBe(1n);
    expect(await valuesOf(pool)).toEqual(["1"]);
    expect(simulator.meterEvents()).toHaveLength(1);
  });

  test("after it was reported: a negative report of the same minute, and Stripe's totals equal the ledger's again", async () => {
    const { pool, record, void: voidKey, flush, settled } = await world();
    await record(5n);
    const wrong = await record(7n);
    flush();
    expect(await settled()).toBe(12n);
    expect(await voidKey(wrong)).toBe("voided");
    expect(await settled()).toBe(5n);
    expect(await voidKey(wrong)).toBe("already_voided");
    await record(1n);
    expect(await settled()).toBe(6n);
    expect(await valuesOf(pool)).toEqual(["12", "-7", "1"]);
    const starts = await pool.query("SELECT DISTINCT window_start, event_timestamp FROM report");
    expect(starts.rows).toEqual([{ window_start: new Date(CLOSED_MS), event_timestamp: new Date(CLOSED_MS) }]);
  });

  test("while a leader flushes without a pause: totals meet, whatever came first", async () => {
    const { pool, record, void: voidKey, flush, settled } = await world();
    flush();
    let left = 0n;
    for (let i = 1n; i <= 30n; i++) {
      const key = await record(i);
      if (i % 2n === 0n) left += i;
      else expect(await voidKey(key)).toBe("voided");
    }
    expect(await settled()).toBe(left);
    const sent = (await valuesOf(pool)).reduce((sum, value) => sum + BigInt(value), 0n);
    expect(sent).toBe(left);
  });
});
