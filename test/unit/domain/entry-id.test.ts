import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareEntryIds, entryTimeMs, FIRST_ENTRY_ID } from "../../../src/domain/entry-id.ts";
import { seeded } from "../../support/seed.ts";

const part = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

describe("entry ids", () => {
  it("compare as pairs of numbers, not as text", () => {
    fc.assert(
      fc.property(part, part, part, part, (aMs, aSequence, bMs, bSequence) => {
        const sign = Math.sign(compareEntryIds(`${aMs}-${aSequence}`, `${bMs}-${bSequence}`));
        const order = aMs === bMs ? aSequence - bSequence : aMs - bMs;
        expect(sign).toBe(order < 0n ? -1 : order > 0n ? 1 : 0);
      }),
      seeded(1_000),
    );
    expect(compareEntryIds("1700000000000-9", "1700000000000-10")).toBeLessThan(0);
    expect(compareEntryIds(FIRST_ENTRY_ID, "0-1")).toBeLessThan(0);
  });

  it("tell when the entry was appended", () => {
    expect(entryTimeMs("1700000000000-77")).toBe(1_700_000_000_000);
  });
});
