// Which metrics there are, and which an expression asks for.
import { createMetrics } from "../../src/process/metrics.ts";

/** Of programs that stand beside the service: kubelet and node_exporter know how full a disk is. */
export const OTHERS_METRICS: ReadonlySet<string> = new Set([
  "kubelet_volume_stats_available_bytes",
  "kubelet_volume_stats_capacity_bytes",
  "node_filesystem_avail_bytes",
  "node_filesystem_size_bytes",
]);

/** All names that /metrics may show, those of histograms' parts among them. */
export async function metricNames(): Promise<ReadonlySet<string>> {
  const metrics = createMetrics();
  metrics.pool({ totalCount: 0, idleCount: 0, waitingCount: 0 });
  const all = await metrics.registry.getMetricsAsJSON();
  return new Set(
    all.flatMap(({ name, type }) =>
      // The type is a word at run time, whatever its declaration says.
      String(type) === "histogram" ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name],
    ),
  );
}

/** Names of metrics in an expression of PromQL: every word that has an underscore and is no label, function or text. */
export function metricNamesIn(expression: string): readonly string[] {
  const bare = expression
    .replaceAll(/"[^"]*"/g, "")
    .replaceAll(/\{[^}]*\}/g, "")
    .replaceAll(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, "");
  return (bare.match(/\b[a-z]\w*_\w+\b(?!\s*\()/g) ?? []).filter((name) => !name.startsWith("__"));
}
