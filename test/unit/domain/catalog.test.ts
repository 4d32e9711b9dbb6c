import fc from "fast-check";
import { expect, test } from "vitest";
import { readCatalog, writeCatalog } from "../../../src/domain/catalog.ts";
import { billableQuantities, type MeterCatalog, REQUESTS_METER } from "../../../src/domain/meter.ts";
import { sumBatch } from "../../../src/domain/rollup.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";

const METERS = ["input_tokens", "output_tokens", "images"];
const rule = fc.record({
  meter: fc.constantFrom(...METERS, REQUESTS_METER),
  modelPattern: fc.constantFrom("*", "openai/*", "*-mini"),
  eventName: fc.constantFrom("a", "b"),
  weight: fc.bigInt({ min: 1n, max: 1_000_000n }),
  payload: fc.option(
    fc
      .dictionary(fc.constantFrom("model", "kind", "__proto__"), fc.constantFrom("{model}", "x"))
      .map((d) => new Map(Object.entries(d))),
    { nil: undefined },
  ),
});
const catalogs = fc.record({
  meters: fc.constant(
    new Map(METERS.map((name) => [name, { name, unit: name === "images" ? "other" : "token" } as const])),
  ),
  billing: fc.array(rule, { maxLength: 6 }),
  rollupLabels: fc.uniqueArray(fc.constantFrom("team", "tier", "region")),
});
const RECORDS = ["openai/gpt-5", "openai/gpt-5-mini", ""].map((model) =>
  usageRecord({
    model,
    eventTimeMs: 1_000,
    measurements: { input_tokens: 7n, images: 2n, output_tokens: 0n },
    labels: { team: "red", region: "eu", trace: "t" },
  }),
);

test("a catalog read back sums every record as the one written, even after a database reordered its keys", () => {
  fc.assert(
    fc.property(catalogs, (catalog) => {
      const { body } = writeCatalog(catalog);
      const back = readCatalog(reversedKeys(body));
      expect(sumBatch(RECORDS, back, () => [])).toEqual(sumBatch(RECORDS, catalog, () => []));
      expect(back.meters).toEqual(catalog.meters);
      expect(writeCatalog(back)).toEqual(writeCatalog(catalog));
    }),
    seeded(500),
  );
});

test("the order of the configuration is nothing; any change that changes a sum is another catalog", () => {
  const shuffled = catalogs.chain((catalog) =>
    fc.record({
      catalog: fc.constant(catalog),
      billing: fc.shuffledSubarray(catalog.billing, { minLength: catalog.billing.length }),
      rollupLabels: fc.shuffledSubarray(catalog.rollupLabels, { minLength: catalog.rollupLabels.length }),
      other: catalogs,
    }),
  );
  fc.assert(
    fc.property(shuffled, ({ catalog, billing, rollupLabels, other }) => {
      const meters = new Map([...catalog.meters].reverse());
      expect(writeCatalog({ meters, billing, rollupLabels }).digest).toBe(writeCatalog(catalog).digest);
      if (writeCatalog(other).digest !== writeCatalog(catalog).digest) return;
      for (const record of RECORDS)
        expect(billableQuantities(record, other)).toEqual(billableQuantities(record, catalog));
    }),
    seeded(500),
  );
});

test("equal rules both count, so neither is lost in writing", () => {
  const twice = { meter: "input_tokens", modelPattern: "*", eventName: "a", weight: 1n };
  const catalog: MeterCatalog = { meters: new Map(), billing: [twice, twice], rollupLabels: [] };
  expect(readCatalog(writeCatalog(catalog).body).billing).toHaveLength(2);
});

/** The same JSON with the keys of every object the other way round. */
function reversedKeys(body: string): string {
  return JSON.stringify(JSON.parse(body), (_, value: unknown) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).reverse())
      : value,
  );
}
