// Recut against a real Postgres: whenever a boundary becomes known, the ledger ends as if it had always been known.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { MeterCatalog } from "../../../src/domain/meter.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { testCatalog } from "../../support/catalog.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";
import {
  CATALOGS,
  DAY,
  database,
  everythingOf,
  learn,
  ledgerOf,
  MIDNIGHT,
  MINUTE,
  newCustomer,
  QUARTER_HOUR,
  reportAll,
  reportedOf,
  rollupsOf,
  SECOND,
  SHARDS,
  warnings,
} from "./recut-harness.ts";

/** What the reports add up to, per event name. */
async function sentOf(customerId: string): Promise<Map<string, bigint>> {
  const result = await database.pool.query<{ event_name: string; value: string }>(
    "SELECT event_name, sum(value) AS value FROM report WHERE customer_id = $1 GROUP BY event_name",
    [customerId],
  );
  return new Map(result.rows.map((row) => [row.event_name, BigInt(row.value)]));
}

/** Dense around a few instants, so that records and boundaries meet in the same minute, quarter-hour and day. */
const nearMs = fc.tuple(
  fc.constantFrom(MIDNIGHT - QUARTER_HOUR, MIDNIGHT, MIDNIGHT + 7 * QUARTER_HOUR, MIDNIGHT + DAY),
  fc.oneof(fc.integer({ min: 0, max: 2 * MINUTE }), fc.integer({ min: 0, max: QUARTER_HOUR })),
);
const eventTimeMs = nearMs.map(([base, offset]) => base + offset);
const boundaryMs = fc
  .tuple(nearMs, fc.constantFrom(SECOND, SECOND, MINUTE, QUARTER_HOUR, DAY))
  .map(([[base, offset], unit]) => Math.floor((base + offset) / unit) * unit);
const sent = fc.record({
  eventTimeMs,
  apiKeyId: fc.constantFrom("", "key_a"),
  measurements: fc
    .tuple(fc.bigInt({ min: 0n, max: 1_000_000_000_000n }), fc.bigInt({ min: 1n, max: 9n }))
    .map(([input_tokens, output_tokens]) => ({ input_tokens, output_tokens })),
  labels: fc.constantFrom({}, { team: "red" }, { team: "blue", trace: "not kept" }),
});

type Sent = typeof sent extends fc.Arbitrary<infer Value> ? Value : never;
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ apply: fc.array(sent, { minLength: 1, maxLength: 12 }) }) },
  { weight: 2, arbitrary: fc.record({ learn: fc.array(boundaryMs, { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ report: true as const }) },
  { weight: 1, arbitrary: fc.record({ rules: fc.constantFrom(...CATALOGS) }) },
  // One of those applied so far, counted around; one that is void already among them.
  { weight: 2, arbitrary: fc.record({ void: fc.nat(50) }) },
);

/** What a record adds to each event name. */
function billed({ measurements }: Sent, catalog: MeterCatalog) {
  const quantities: Readonly<Record<string, bigint>> = { ...measurements, requests: 1n };
  return catalog.billing.map(
    ({ meter, eventName, weight }) => [eventName, (quantities[meter] ?? 0n) * weight] as const,
  );
}

interface Applied {
  readonly sent: Sent;
  readonly catalog: MeterCatalog;
  readonly key: string;
  voided: boolean;
}

/** Two customers who are sent the same records; the one learns of its boundaries in time, the other late. Sums by hand beside. */
class TwoCustomers {
  readonly late = newCustomer();
  readonly early = newCustomer();
  /** Per event name, of records not voided. */
  readonly billed = new Map<string, bigint>();
  /** Per meter, of records not voided. */
  readonly measured = new Map<string, bigint>([["requests", 0n]]);
  readonly #applied: Applied[] = [];
  #catalog = testCatalog();

  async take(s: Step): Promise<void> {
    if ("learn" in s) await learn(this.late, s.learn, this.#catalog);
    else if ("report" in s) await reportAll(this.late);
    else if ("rules" in s) this.#catalog = s.rules;
    else if ("void" in s) await this.#void(this.#applied[s.void % this.#applied.length]);
    else await this.#apply(s.apply);
  }

  async #apply(batch: readonly Sent[]): Promise<void> {
    const known = this.#applied.length;
    const added = batch.map((sent, i) => ({ sent, catalog: this.#catalog, key: `k${known + i}`, voided: false }));
    const ledger = ledgerOf(this.#catalog);
    for (const customerId of [this.late, this.early])
      await ledger.apply(added.map(({ sent, key }) => usageRecord({ ...sent, customerId, idempotencyKey: key })));
    for (const { sent } of added) this.#count(sent, this.#catalog, 1n);
    this.#applied.push(...added);
  }

  async #void(applied: Applied | undefined): Promise<void> {
    const voids = postgresVoids(database.pool, this.#catalog, SHARDS);
    const idempotencyKey = applied?.key ?? "never sent";
    const expected = applied === undefined ? "not_found" : applied.voided ? "already_voided" : "voided";
    for (const customerId of [this.late, this.early])
      expect((await voids.voidRecord({ customerId, idempotencyKey, reason: "test" })).kind).toBe(expected);
    if (expected !== "voided" || applied === undefined) return;
    this.#count(applied.sent, applied.catalog, -1n);
    applied.voided = true;
  }

  #count(sent: Sent, catalog: MeterCatalog, sign: bigint): void {
    for (const [name, quantity] of billed(sent, catalog)) add(this.billed, name, sign * quantity);
    for (const [meter, quantity] of Object.entries({ ...sent.measurements, requests: 1n }))
      add(this.measured, meter, sign * quantity);
  }
}

function add(sums: Map<string, bigint>, name: string, quantity: bigint): void {
  sums.set(name, (sums.get(name) ?? 0n) + quantity);
}

async function measuredOf(customerId: string, table: "rollup_quarter_hour" | "rollup_day") {
  const sums = new Map<string, bigint>([["requests", 0n]]);
  for (const { meter, quantity } of await rollupsOf(customerId, table)) add(sums, meter, BigInt(quantity));
  return sums;
}

function nonZero(sums: ReadonlyMap<string, bigint>): object {
  return Object.fromEntries([...sums].filter(([, quantity]) => quantity !== 0n).sort());
}

test("applies, voids, flushes, new rules and boundaries in any order: the sums of what is not void, cut as if the boundaries had been known", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      const two = new TwoCustomers();
      const { late, early } = two;
      await learn(
        early,
        steps.flatMap((s) => ("learn" in s ? s.learn : [])),
      );
      for (const s of steps) {
        await two.take(s);
        // At every instant, not only in the end: nothing appears or disappears.
        const pending = new Map((await reportedOf(late)).map((row) => [row.event_name, BigInt(row.total)]));
        expect(nonZero(pending)).toEqual(nonZero(two.billed));
        expect(nonZero(await measuredOf(late, "rollup_quarter_hour"))).toEqual(nonZero(two.measured));
        expect(nonZero(await measuredOf(late, "rollup_day"))).toEqual(nonZero(two.measured));
      }
      expect(await everythingOf(late)).toEqual(await everythingOf(early));
      // One more flush brings Stripe to the same sums.
      await reportAll(late);
      for (const row of await reportedOf(late)) expect(row.due).toBe("0");
      expect(nonZero(await sentOf(late))).toEqual(nonZero(two.billed));
    }),
    seeded(60),
  );
  expect(warnings).toEqual([]);
});

test("applies and boundaries at the same time, from many connections: as if known beforehand", async () => {
  const ledger = ledgerOf();
  const [late, early] = [newCustomer(), newCustomer()];
  const boundaries = [7, 100, 3_601, 900, 86_400, 61].map((s) => MIDNIGHT + s * SECOND);
  const batches = Array.from({ length: 12 }, (_, b) =>
    Array.from({ length: 40 }, (_, i) => ({
      eventTimeMs: MIDNIGHT + (((b * 40 + i) * 7_919_000) % (DAY + QUARTER_HOUR)),
    })),
  );
  await learn(early, boundaries);
  for (const batch of batches) await ledger.apply(batch.map((r) => usageRecord({ ...r, customerId: early })));
  await Promise.all([
    ...batches.map((batch) => ledger.apply(batch.map((r) => usageRecord({ ...r, customerId: late })))),
    ...boundaries.map((boundary) => learn(late, [boundary])),
    learn(late, boundaries),
  ]);
  expect(await everythingOf(late)).toEqual(await everythingOf(early));
});
