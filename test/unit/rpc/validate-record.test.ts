import { create, type MessageInitShape } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RecordUsageRequestSchema } from "../../../gen/metering/v1/metering_service_pb.ts";
import type { UsageRecordSchema } from "../../../gen/metering/v1/usage_pb.ts";
import type { Clock } from "../../../src/app/ports/clock.ts";
import { MeteringError } from "../../../src/domain/errors.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { EVENT_TIME_AHEAD_MS, EVENT_TIME_BACK_MS, RecordValidator } from "../../../src/rpc/validate-record.ts";
import { testCatalog } from "../../support/catalog.ts";
import { seeded } from "../../support/seed.ts";

const NOW_MS = 1_790_000_000_123;
const METERS = ["input_tokens", "output_tokens", "cached_input_tokens"];
const clock: Clock = { nowMs: () => NOW_MS, monotonicMs: () => 0, sleep: async () => {} };
const validator = new RecordValidator(testCatalog(), clock);

type Fields = MessageInitShape<typeof UsageRecordSchema>;

function validate(record: Fields): UsageRecord | MeteringError {
  return validator.record(create(RecordUsageRequestSchema, { record }));
}

function accepted(record: Fields): UsageRecord {
  const result = validate(record);
  if (result instanceof MeteringError) throw result;
  return result;
}

const text = fc.string({ unit: "grapheme", maxLength: 20 }).filter((t) => !/\p{Cc}/u.test(t));
const validRecord = fc.record({
  idempotencyKey: fc.stringMatching(/^[!-~]{1,128}$/),
  customerId: text.filter((t) => t !== ""),
  apiKeyId: text,
  model: text,
  measurements: fc
    .subarray(METERS, { minLength: 1 })
    .chain((meters) =>
      fc.tuple(...meters.map((meter) => fc.record({ meter: fc.constant(meter), quantity: fc.bigInt(0n, 10n ** 12n) }))),
    ),
  labels: fc.dictionary(fc.stringMatching(/^[a-z0-9_]{1,64}$/), text, { maxKeys: 15 }),
  eventTime: fc.option(
    fc.record({
      seconds: fc.bigInt(
        BigInt(NOW_MS - EVENT_TIME_BACK_MS) / 1000n + 1n,
        BigInt(NOW_MS + EVENT_TIME_AHEAD_MS) / 1000n - 1n,
      ),
      nanos: fc.integer({ min: 0, max: 999_999_999 }),
    }),
    { nil: undefined },
  ),
});

type Drawn = typeof validRecord extends fc.Arbitrary<infer T> ? T : never;

function initOf(record: Drawn): Fields {
  const { eventTime, ...rest } = record;
  return eventTime === undefined ? rest : { ...rest, eventTime };
}

test("any valid record is taken, in canonical form", () => {
  fc.assert(
    fc.property(validRecord, (record) => {
      const taken = accepted(initOf(record));
      expect(taken).toMatchObject({
        idempotencyKey: record.idempotencyKey,
        customerId: record.customerId,
        apiKeyId: record.apiKeyId,
        model: record.model,
        labels: Object.entries(record.labels).sort(([a], [b]) => (a < b ? -1 : 1)),
        measurements: [...record.measurements].sort((a, b) => (a.meter < b.meter ? -1 : 1)),
      });
      const sent = record.eventTime;
      const sentMs = sent && Number(sent.seconds * 1000n + BigInt(sent.nanos) / 1_000_000n);
      expect(taken.eventTimeMs).toBe(sentMs ?? NOW_MS);
    }),
    seeded(500),
  );
});

test("order of measurements and labels is nothing to the fingerprint, any other change is something", () => {
  fc.assert(
    fc.property(validRecord, (record) => {
      const { fingerprint } = accepted(initOf(record));
      const reversed = {
        ...record,
        measurements: [...record.measurements].reverse(),
        labels: Object.fromEntries(Object.entries(record.labels).reverse()),
      };
      expect(accepted(initOf(reversed)).fingerprint).toBe(fingerprint);
      const [first, ...rest] = record.measurements;
      if (first === undefined) throw new Error("no measurement");
      const quantity = first.quantity === 0n ? 1n : first.quantity - 1n;
      const changes = [
        { measurements: [{ ...first, quantity }, ...rest] },
        { model: `x${record.model}` },
        { apiKeyId: `x${record.apiKeyId}` },
        { customerId: `x${record.customerId}` },
        { labels: { ...record.labels, team: "a value no longer than 20 could not be" } },
      ];
      for (const change of changes) {
        expect(accepted(initOf({ ...record, ...change })).fingerprint).not.toBe(fingerprint);
      }
    }),
    seeded(300),
  );
});

describe("event time, to the millisecond", () => {
  const at = (timeMs: number) => ({
    idempotencyKey: "k",
    customerId: "c",
    measurements: [{ meter: "input_tokens", quantity: 1n }],
    eventTime: { seconds: BigInt(Math.floor(timeMs / 1000)), nanos: (timeMs % 1000) * 1_000_000 },
  });

  test.each([
    [-EVENT_TIME_BACK_MS - 1, false],
    [-EVENT_TIME_BACK_MS, true],
    [EVENT_TIME_AHEAD_MS, true],
    [EVENT_TIME_AHEAD_MS + 1, false],
  ])("%d ms from now: %s", (offsetMs, taken) => {
    expect(validate(at(NOW_MS + offsetMs)) instanceof MeteringError).toBe(!taken);
  });

  test("two instants within one millisecond are two different records", () => {
    const eventTime = { seconds: BigInt(NOW_MS) / 1000n, nanos: 1 };
    const one = accepted({ ...at(NOW_MS), eventTime });
    const other = accepted({ ...at(NOW_MS), eventTime: { ...eventTime, nanos: 2 } });
    expect(one.eventTimeMs).toBe(other.eventTimeMs);
    expect(one.fingerprint).not.toBe(other.fingerprint);
  });
});
