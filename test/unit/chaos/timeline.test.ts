// Faults and usage follow from the seed.
import { expect, test } from "vitest";
import { drawTimeline, FAULT_KINDS, STRIPE_FAULTS } from "../../../chaos/timeline.ts";
import { UsageSource } from "../../../chaos/usage.ts";
import { Random } from "../../../simulation/random.ts";
import { faultSchema } from "../../../src/stripe-simulator/control/faults.ts";

const HOUR_MS = 3_600_000;
const draw = (seed: number, lengthMs: number) => drawTimeline(new Random(seed, "timeline"), lengthMs, []);

test("the same seed draws the same faults, another one others", () => {
  expect(draw(1, HOUR_MS)).toEqual(draw(1, HOUR_MS));
  expect(draw(1, HOUR_MS)).not.toEqual(draw(2, HOUR_MS));
});

test("an hour has every kind of fault, and every fault that the simulated Stripe knows", () => {
  const faults = draw(1, HOUR_MS);
  expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(FAULT_KINDS));
  const ofStripe = faults.filter(({ kind }) => kind === "Stripe faulty").map(({ target }) => target);
  expect(new Set(ofStripe)).toEqual(new Set(STRIPE_FAULTS));
  const known = faultSchema.shape.kind.options;
  expect(new Set(STRIPE_FAULTS.map((name) => name.split(" ")[0]))).toEqual(new Set(known));
});

test("faults overlap, come in order, and those of a kind that is left out never", () => {
  const faults = draw(3, HOUR_MS);
  expect(faults.every(({ atMs }, i) => atMs >= (faults[i - 1]?.atMs ?? 0))).toBe(true);
  expect(faults.filter(({ atMs, forMs }, i) => atMs + forMs > (faults[i + 1]?.atMs ?? HOUR_MS)).length).toBeGreaterThan(
    50,
  );
  const some = drawTimeline(new Random(3, "timeline"), HOUR_MS, ["Redis wiped"]);
  expect(some.length).toBeGreaterThan(500);
  expect(some.filter(({ kind }) => kind === "Redis wiped")).toEqual([]);
});

test("the same seed draws the same usage; no two records share a key, but where one is repeated or contradicted", () => {
  const payers = [
    { customerId: "a", minutesMs: [0, 60_000] },
    { customerId: "b", minutesMs: undefined },
  ];
  const acts = () => {
    const source = new UsageSource(new Random(1, "client 1 life 0"), payers, "c1-0");
    return Array.from({ length: 2_000 }, () => source.next(1_000_000));
  };
  expect(acts()).toEqual(acts());
  const kinds = Map.groupBy(acts(), ({ kind }) => kind);
  expect([...kinds.keys()].sort()).toEqual(["batch", "one", "repeat", "reuse", "twice"]);
  const fresh = acts()
    .filter(({ kind }) => kind !== "repeat" && kind !== "reuse")
    .flatMap(({ usages }) => usages);
  expect(new Set(fresh.map(({ key }) => key)).size).toBe(fresh.length);
  const byKey = new Map(fresh.map((usage) => [usage.key, usage]));
  for (const { kind, usages } of acts())
    for (const usage of usages) {
      if (kind === "repeat") expect(usage).toEqual(byKey.get(usage.key));
      if (kind === "reuse") expect(usage.input).toBeGreaterThan(byKey.get(usage.key)?.input ?? Number.NaN);
    }
});
