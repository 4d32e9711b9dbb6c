// A meter catalog for tests.
import type { MeterCatalog } from "../../src/domain/meter.ts";

/** Token meters billed one to one under their own names, and one label kept in rollups. */
export function testCatalog(): MeterCatalog {
  const names = ["input_tokens", "output_tokens", "cached_input_tokens"];
  return {
    meters: new Map(names.map((name) => [name, { name, unit: "token" }])),
    billing: names.map((meter) => ({ meter, modelPattern: "*", eventName: meter, weight: 1n })),
    rollupLabels: ["team"],
  };
}
