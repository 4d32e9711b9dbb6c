// Traces of the drain. One transaction takes the records of many calls, so it belongs to none of their traces: it has one of its own, with links to
// them; and in each of theirs stands a span of the same time, with a link back.
import type { UsageRecord } from "../domain/usage-record.ts";
import type { SpanAttributes, TraceParent, Tracing } from "./ports/tracing.ts";

/** Most calls that one transaction is linked to. */
const LINKS_MAX = 32;

/** Does `apply`, traced where the call of any of the records was. */
export async function traceApply<T>(
  tracing: Tracing | undefined,
  records: readonly UsageRecord[],
  attributes: SpanAttributes,
  apply: () => Promise<T>,
): Promise<T> {
  const calls = tracing === undefined ? [] : callsOf(records);
  if (tracing === undefined || calls.length === 0) return await apply();
  const batch = tracing.start({ name: "drain batch", kind: "consumer", links: calls, attributes });
  const links = batch.traceparent === undefined ? [] : [batch.traceparent];
  const spans = [batch, ...calls.map((parent) => tracing.start({ name: "drain", kind: "consumer", parent, links }))];
  try {
    const result = await apply();
    for (const span of spans) span.end();
    return result;
  } catch (cause) {
    for (const span of spans) span.end({}, cause instanceof Error ? cause.message : String(cause));
    throw cause;
  }
}

/** Of the first so many that are traced, each call once. */
function callsOf(records: readonly UsageRecord[]): readonly TraceParent[] {
  const calls = new Set<TraceParent>();
  for (const { traceparent } of records) {
    if (traceparent !== undefined) calls.add(traceparent);
    if (calls.size === LINKS_MAX) break;
  }
  return [...calls];
}
