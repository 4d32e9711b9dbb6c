import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { decodeRecord, encodeRecord } from "../../../src/redis/record-line.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";

/** Any text a caller may send, lone surrogates and control characters too. */
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("\n", "\u2028", "\ud800", "\0"),
);

const records: fc.Arbitrary<UsageRecord> = fc.record({
  customerId: text,
  idempotencyKey: text,
  apiKeyId: text,
  eventTimeMs: fc.integer({ min: 0, max: 8.64e15 }),
  model: text,
  measurements: fc.array(fc.record({ meter: text, quantity: fc.bigInt({ min: 0n, max: 2n ** 63n }) }), {
    maxLength: 16,
  }),
  labels: fc.array(fc.tuple(text, text), { maxLength: 16 }),
  fingerprint: text,
});

describe("a record's line", () => {
  it("reads back as the same record, through UTF-8", () => {
    fc.assert(
      fc.property(records, (record) => {
        const line = encodeRecord(record);
        expect(line).not.toContain("\n");
        expect(decodeRecord(Buffer.from(line).toString())).toEqual(record);
      }),
      seeded(1_000),
    );
  });

  it("keeps quantities that a float cannot", () => {
    const record = usageRecord({ measurements: { input_tokens: 9_007_199_254_740_993n } });
    expect(decodeRecord(encodeRecord(record)).measurements).toEqual([
      { meter: "input_tokens", quantity: 9_007_199_254_740_993n },
    ]);
  });

  it("is still read as earlier versions wrote it", () => {
    const line = '["cus_1","k-1","key_1",1700000000000,"m","fp",["input_tokens","12"],["team","a"]]';
    expect(decodeRecord(line)).toEqual({
      customerId: "cus_1",
      idempotencyKey: "k-1",
      apiKeyId: "key_1",
      eventTimeMs: 1_700_000_000_000,
      model: "m",
      measurements: [{ meter: "input_tokens", quantity: 12n }],
      labels: [["team", "a"]],
      fingerprint: "fp",
    });
  });

  it("that is none is an error, not a record", () => {
    expect(() => decodeRecord("")).toThrow(SyntaxError);
    expect(() => decodeRecord("{}")).toThrow(TypeError);
  });
});

it("carries the trace of its call where there is one, and costs nothing else", () => {
  const record = usageRecord();
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  expect(decodeRecord(encodeRecord({ ...record, traceparent }))).toEqual({ ...record, traceparent });
  expect(Object.keys(decodeRecord(encodeRecord(record)))).not.toContain("traceparent");
});
