// Each request to Stripe as a span below the round that made it.
import type { MeterSink } from "./ports/reports.ts";
import type { TraceParent, Tracing } from "./ports/tracing.ts";

export function tracedSink(sink: MeterSink, tracing: Tracing, parent: TraceParent): MeterSink {
  return {
    name: sink.name,
    batchMax: sink.batchMax,
    serial: sink.serial,
    async send(reports, signal) {
      const [first] = reports;
      const attributes = { "metering.reports": reports.length, "metering.report.first": first?.identifier ?? "" };
      const span = tracing.start({ name: `send ${sink.name}`, kind: "client", parent, attributes });
      const outcomes = await sink.send(reports, signal);
      if (outcomes === "split") span.end({ "metering.outcome": "split" });
      else span.end(countsOf(outcomes));
      return outcomes;
    },
  };
}

function countsOf(outcomes: readonly { readonly kind: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of outcomes) counts[`metering.outcome.${kind}`] = (counts[`metering.outcome.${kind}`] ?? 0) + 1;
  return counts;
}
