// docs/metrics.md is what operators build on: it names every metric, with its type and labels, and none that is not there.
import { readFileSync } from "node:fs";
import type { Metric } from "prom-client";
import { expect, test } from "vitest";
import { createMetrics } from "../../../src/process/metrics.ts";

const ROOT = new URL("../../../", import.meta.url);

/** Name, type and labels of every metric of ours, in order, as lines of the table would have them. */
function registered(): string[] {
  const metrics = createMetrics(() => 0);
  metrics.pool({ totalCount: 0, idleCount: 0, waitingCount: 0 });
  return metrics.registry
    .getMetricsAsArray()
    .map((metric) => metric as unknown as Metric & { name: string; type: string; labelNames: string[] })
    .filter(({ name }) => name.startsWith("metering_"))
    .map(({ name, type, labelNames }) => `${name} ${type} ${labelNames.join(" ")}`.trimEnd())
    .sort();
}

function documented(): string[] {
  const table = readFileSync(new URL("docs/metrics.md", ROOT), "utf8");
  const rows = [...table.matchAll(/^\| `(metering_\w+)` \| (\w+) \| ([^|]*)\| (.*) \|$/gm)];
  return rows
    .map(([, name, type, labels = ""]) => {
      const names = [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label);
      return `${name} ${type} ${names.join(" ")}`.trimEnd();
    })
    .sort();
}

test("the table of metrics is the registry's", () => {
  expect(registered().length).toBeGreaterThan(30);
  expect(documented()).toEqual(registered());
});

test("names say their unit, and counters that they are such", () => {
  const UNITS = /_(seconds|bytes|info)(\{|$)|_timestamp_seconds$/;
  /** Counts of things and flags: the name is the unit. */
  const COUNTS = /_(streams|durable|workers|entries|listed|leader|held|outbox|overdue|open|events|up|connections|ok)$/;
  const odd = registered()
    .map((line) => line.split(" "))
    .filter(
      ([name = "", type]) => !(type === "counter" ? /_total$/.test(name) : UNITS.test(name) || COUNTS.test(name)),
    );
  expect(odd).toEqual([]);
});
