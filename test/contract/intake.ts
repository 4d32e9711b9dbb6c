// What every intake promises, whatever store it stands on. Each adapter's test file runs this suite over a store of its own.
import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import type { Intake, IntakeResult } from "../../src/app/ports/intake.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import { usageRecord } from "../support/records.ts";
import { pickSeed, randomFrom } from "../support/seed.ts";

/** An adapter over a store that can be killed. */
export interface IntakeUnderTest {
  /** Over the store; `waitingRecords` is the bound of its queue. One call's records of one customer share a queue. */
  open(waitingRecords: number): Intake;
  /** How many times a record of this customer under this key is stored, whatever its content. */
  storedTimes(customerId: string, idempotencyKey: string): Promise<number>;
  /** SIGKILL. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

export function intakeContract(store: () => IntakeUnderTest): void {
  let intake: Intake;
  let customerId: string;

  beforeEach(() => {
    intake = store().open(20_000);
    customerId = `cus_${randomUUID()}`;
  });

  const stored = (record: UsageRecord) => store().storedTimes(record.customerId, record.idempotencyKey);

  describe("one record", () => {
    it("is recorded, then a duplicate, and stored once", async () => {
      const record = usageRecord({ customerId });
      expect(await outcomes(intake, [record])).toEqual(["recorded"]);
      expect(await outcomes(intake, [record])).toEqual(["duplicate"]);
      expect(await outcomes(intake, [{ ...record }])).toEqual(["duplicate"]);
      expect(await stored(record)).toBe(1);
    });

    it("is refused under a key that stands for another record, which stays", async () => {
      const record = usageRecord({ customerId, idempotencyKey: "k", measurements: { input_tokens: 1n } });
      const other = usageRecord({ customerId, idempotencyKey: "k", measurements: { input_tokens: 2n } });
      expect(await outcomes(intake, [record])).toEqual(["recorded"]);
      const [result] = await intake.record([other]);
      expect(failureOf(result)).toEqual({ kind: "idempotency_key_reused", customerId, idempotencyKey: "k" });
      expect(await outcomes(intake, [record])).toEqual(["duplicate"]);
      expect(await stored(record)).toBe(1);
    });

    it("has its key for itself: another customer's same key is another record", async () => {
      const ours = usageRecord({ customerId, idempotencyKey: "same" });
      const theirs = usageRecord({ customerId: `${customerId}-2`, idempotencyKey: "same" });
      expect(await outcomes(intake, [ours])).toEqual(["recorded"]);
      expect(await outcomes(intake, [theirs])).toEqual(["recorded"]);
    });

    it("is the same in whatever order its measurements and labels were sent", async () => {
      const eventTimeMs = Date.now();
      const fields = { customerId, idempotencyKey: "ordered", eventTimeMs };
      const there = { measurements: { input_tokens: 1n, output_tokens: 2n }, labels: { a: "1", b: "2" } };
      const back = { measurements: { output_tokens: 2n, input_tokens: 1n }, labels: { b: "2", a: "1" } };
      expect(await outcomes(intake, [usageRecord({ ...fields, ...there })])).toEqual(["recorded"]);
      expect(await outcomes(intake, [usageRecord({ ...fields, ...back })])).toEqual(["duplicate"]);
    });
  });

  describe("a batch", () => {
    it("may be empty", async () => {
      expect(await intake.record([])).toEqual([]);
    });

    it("ends each record alone, repeats and reused keys inside it too", async () => {
      const known = usageRecord({ customerId, idempotencyKey: "known" });
      await intake.record([known]);
      const first = usageRecord({ customerId, idempotencyKey: "first" });
      const clash = usageRecord({ customerId, idempotencyKey: "first", model: "other/model" });
      const second = usageRecord({ customerId, idempotencyKey: "second" });
      expect(await outcomes(intake, [first, known, first, clash, second, first])).toEqual([
        "recorded",
        "duplicate",
        "duplicate",
        "idempotency_key_reused",
        "recorded",
        "duplicate",
      ]);
      expect(await Promise.all([first, known, second].map(stored))).toEqual([1, 1, 1]);
    });

    it("gets its answers in its own order, over all shards", async () => {
      const seed = pickSeed();
      const random = randomFrom(seed);
      const known = Array.from({ length: 200 }, (_, i) => usageRecord({ customerId: `${customerId}-${i}` }));
      expect(new Set(await outcomes(intake, known))).toEqual(new Set(["recorded"]));
      const batch: UsageRecord[] = [];
      const expected: string[] = [];
      for (const record of known) {
        const draw = random();
        if (draw < 0.3) {
          batch.push(record);
          expected.push("duplicate");
        } else if (draw < 0.6) {
          const { customerId: owner, idempotencyKey } = record;
          batch.push(usageRecord({ customerId: owner, idempotencyKey, measurements: { input_tokens: 999n } }));
          expected.push("idempotency_key_reused");
        } else {
          batch.push(usageRecord({ customerId: record.customerId }));
          expected.push("recorded");
        }
      }
      expect(await outcomes(intake, batch), `SEED=${seed}`).toEqual(expected);
    });
  });

  describe("callers at the same time", () => {
    it("with equal records under one key count once", async () => {
      const record = usageRecord({ customerId, idempotencyKey: "raced" });
      const others = Array.from({ length: 3 }, () => store().open(20_000));
      const intakes = [intake, ...others];
      const calls = Array.from({ length: 50 }, (_, i) => outcomes(intakes[i % intakes.length] ?? intake, [record]));
      const ended = (await Promise.all(calls)).flat();
      expect(ended.filter((outcome) => outcome === "recorded")).toHaveLength(1);
      expect(ended.filter((outcome) => outcome === "duplicate")).toHaveLength(49);
      expect(await stored(record)).toBe(1);
    });

    it("with different records under one key: one wins, and it alone is stored", async () => {
      const records = Array.from({ length: 20 }, (_, i) =>
        usageRecord({ customerId, idempotencyKey: "fought over", measurements: { input_tokens: BigInt(i) } }),
      );
      const ended = (await Promise.all(records.map((record) => outcomes(intake, [record])))).flat();
      expect(ended.filter((outcome) => outcome === "recorded")).toHaveLength(1);
      expect(ended.filter((outcome) => outcome === "idempotency_key_reused")).toHaveLength(19);
      const winner = records[ended.indexOf("recorded")] ?? usageRecord();
      expect(await outcomes(intake, [winner])).toEqual(["duplicate"]);
      expect(await stored(winner)).toBe(1);
    });

    it("past the bound of the queue are told at once, and nothing of theirs is stored", async () => {
      const bounded = store().open(10);
      // All in one turn of the event loop, so that none is on its way to the store yet.
      const records = Array.from({ length: 14 }, () => usageRecord({ customerId }));
      const ended = (await Promise.all(records.map((record) => outcomes(bounded, [record])))).flat();
      expect(ended).toEqual([...Array(10).fill("recorded"), ...Array(4).fill("intake_full")]);
      expect(await Promise.all(records.map(stored))).toEqual([...Array(10).fill(1), ...Array(4).fill(0)]);
      expect(await outcomes(bounded, records.slice(10))).toEqual(Array(4).fill("recorded"));
    });
  });

  describe("a store that is killed", () => {
    it("has on disk what it acknowledged", async () => {
      const records = Array.from({ length: 30 }, (_, i) => usageRecord({ customerId: `${customerId}-${i}` }));
      expect(new Set(await outcomes(intake, records))).toEqual(new Set(["recorded"]));
      await store().kill();
      await store().start();
      expect(await Promise.all(records.map(stored))).toEqual(records.map(() => 1));
      expect(await untilAnswered(intake, records[0])).toBe("duplicate");
    });

    it("is unavailable to its callers, who then retry and count once", async () => {
      const record = usageRecord({ customerId });
      await store().kill();
      const [result] = await intake.record([record]);
      expect(failureOf(result)).toMatchObject({ kind: "intake_unavailable", retryAfterMs: expect.any(Number) });
      await store().start();
      expect(["recorded", "duplicate"]).toContain(await untilAnswered(intake, record));
      expect(await stored(record)).toBe(1);
    });

    it("under load counts every record once, when callers retry until they are answered", async () => {
      const records = Array.from({ length: 400 }, (_, i) => usageRecord({ customerId: `${customerId}-${i % 40}` }));
      let answered = 0;
      let onQuarter = () => {};
      const quarter = new Promise<void>((resolve) => {
        onQuarter = resolve;
      });
      const callers = Array.from({ length: 20 }, async (_, caller) => {
        for (let i = caller; i < records.length; i += 20) {
          await untilAnswered(intake, records[i]);
          answered += 1;
          if (answered === records.length / 4) onQuarter();
        }
      });
      await quarter;
      await store().kill();
      await store().start();
      await Promise.all(callers);
      expect(await Promise.all(records.map(stored))).toEqual(records.map(() => 1));
      expect(new Set(await outcomes(intake, records))).toEqual(new Set(["duplicate"]));
    });
  });
}

/** "recorded", "duplicate" or the failure's kind, for each record. */
export async function outcomes(intake: Intake, records: readonly UsageRecord[]): Promise<string[]> {
  const results = await intake.record(records);
  return results.map((result) => ("error" in result ? result.error.failure.kind : result.outcome));
}

/** As a client does: the same record again until the intake knows of it. */
async function untilAnswered(intake: Intake, record: UsageRecord | undefined): Promise<string> {
  for (;;) {
    const [outcome = ""] = await outcomes(intake, record ? [record] : []);
    if (outcome !== "intake_unavailable" && outcome !== "intake_full") return outcome;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function failureOf(result: IntakeResult | undefined): unknown {
  return result !== undefined && "error" in result ? result.error.failure : result;
}
