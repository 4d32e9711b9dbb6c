// What a stream of absolute totals comes to.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type StreamUsageResponse, StreamUsageResponseSchema } from "../../../gen/metering/v1/metering_service_pb.ts";
import { Totals } from "../../../src/dashboard/totals.ts";
import { seeded } from "../../support/seed.ts";

interface Line {
  readonly meter: string;
  readonly quantity: bigint;
  readonly model?: string;
  readonly apiKeyId?: string;
  readonly customerId?: string;
}

const INTERVAL = { startTime: timestampFromMs(0), endTime: timestampFromMs(1_000) };
const snapshot = (...totals: readonly Line[]): StreamUsageResponse =>
  create(StreamUsageResponseSchema, {
    event: { case: "snapshot", value: { interval: INTERVAL, totals: [...totals] } },
    watermarkTime: timestampFromMs(500),
  });
const update = (...totals: readonly Line[]): StreamUsageResponse =>
  create(StreamUsageResponseSchema, { event: { case: "update", value: { totals: [...totals] } } });
const heartbeat = create(StreamUsageResponseSchema, {
  event: { case: "heartbeat", value: {} },
  watermarkTime: timestampFromMs(900),
});

function totalsAfter(...responses: readonly StreamUsageResponse[]): Totals {
  const totals = new Totals();
  for (const response of responses) totals.apply(response);
  return totals;
}

const every = () => true;
const byModel = ({ model }: { model: string }) => model;

describe("Totals", () => {
  test("nothing is known before a snapshot", () => {
    const totals = totalsAfter(heartbeat);
    expect(totals.interval).toBeUndefined();
    expect(totals.sum(every)).toBe(0n);
  });

  test("an update takes the place of what it names, and of nothing else", () => {
    const totals = totalsAfter(
      snapshot({ meter: "input", model: "a", quantity: 5n }, { meter: "input", model: "b", quantity: 7n }),
      update({ meter: "input", model: "a", quantity: 6n }),
    );
    expect(totals.split(every, byModel)).toEqual([
      { name: "b", quantity: 7n },
      { name: "a", quantity: 6n },
    ]);
  });

  test("a snapshot takes the place of all: one that is missing is 0", () => {
    expect(totalsAfter(snapshot({ meter: "m", model: "a", quantity: 5n }), snapshot()).split(every, byModel)).toEqual(
      [],
    );
  });

  test("what nothing is left of is not listed", () => {
    const totals = totalsAfter(
      snapshot({ meter: "m", model: "a", quantity: 5n }),
      update({ meter: "m", model: "a", quantity: 0n }),
    );
    expect(totals.split(every, byModel)).toEqual([]);
  });

  test("a heartbeat moves the watermark alone, and an update without one leaves it", () => {
    const totals = totalsAfter(snapshot({ meter: "m", quantity: 5n }), heartbeat, update({ meter: "m", quantity: 6n }));
    expect(totals.watermark).toEqual(timestampFromMs(900));
    expect(totals.sum(every)).toBe(6n);
  });

  test("names are told apart, however they are cut", () => {
    const totals = totalsAfter(
      snapshot(
        { meter: "m", model: "a,b", apiKeyId: "c", quantity: 1n },
        { meter: "m", model: "a", apiKeyId: "b,c", quantity: 2n },
        { meter: "m", customerId: "a", quantity: 4n },
      ),
    );
    expect(totals.sum(every)).toBe(7n);
  });

  test("equal quantities keep one order, by name", () => {
    const totals = totalsAfter(
      snapshot({ meter: "m", model: "z", quantity: 1n }, { meter: "m", model: "a", quantity: 1n }),
    );
    expect(totals.split(every, byModel).map(({ name }) => name)).toEqual(["a", "z"]);
  });

  test("parts add up to the whole, exactly, at any size", () => {
    const line = fc.record({
      meter: fc.constantFrom("input", "output", "requests"),
      model: fc.string({ maxLength: 3 }),
      apiKeyId: fc.constantFrom("", "k1", "k2"),
      quantity: fc.bigInt(0n, 2n ** 63n - 1n),
    });
    fc.assert(
      fc.property(fc.array(line), fc.array(line), (first, then) => {
        const totals = totalsAfter(snapshot(...first), update(...then));
        const last = new Map(
          [...first, ...then].map((one) => [JSON.stringify([one.meter, one.model, one.apiKeyId]), one] as const),
        );
        const counts = (meter: string) => meter !== "requests";
        let expected = 0n;
        for (const { meter, quantity } of last.values()) if (counts(meter)) expected += quantity;
        expect(totals.sum(counts)).toBe(expected);
        const split = totals.split(counts, byModel).reduce((sum, { quantity }) => sum + quantity, 0n);
        expect(split).toBe(expected);
      }),
      seeded(200),
    );
  });
});
