// What an operator's comparison needs: which customers' meters there are, and a way to ask whoever leads.
import type { BookedDrift, Comparison, HourToCompare, ReconcileRequests } from "../app/ports/reconciliation.ts";
import type { DriftExplanation } from "../domain/explain-drift.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const EVERY_HOUR = sqlFile("reconcile-every-hour");
const ASK = sqlFile("reconcile-ask");
const UNANSWERED = sqlFile("reconcile-unanswered");
const REPAIRED = sqlFile("reconcile-repaired");

const HOUR_MS = 3_600_000;

/** Rejects when Postgres is away. */
export function postgresReconcileRequests(pool: Pool): ReconcileRequests {
  return {
    async everyHour({ startMs, endMs }, customerId, eventNames, after, limit) {
      const range = [new Date(startMs), new Date(endMs)];
      const from = [after?.stripeCustomerId ?? null, after?.eventName ?? null];
      const result = await pool.query<MeterRow>(EVERY_HOUR, [customerId ?? null, eventNames, ...range, ...from, limit]);
      const comparisons = result.rows.map((row): Comparison => {
        const boundariesMs = row.boundaries.map((boundary) => boundary.getTime());
        const hours = Array.from({ length: (endMs - startMs) / HOUR_MS }, (_, i): HourToCompare => {
          const hourMs = startMs + i * HOUR_MS;
          const inside = boundariesMs.filter((ms) => hourMs < ms && ms < hourMs + HOUR_MS);
          return { startMs: hourMs, boundariesMs: inside, requested: false, apply: undefined };
        });
        return { stripeCustomerId: row.stripe_customer_id, eventName: row.event_name, hours };
      });
      return {
        comparisons,
        readAtMs: result.rows[0]?.now.getTime() ?? 0,
        next: comparisons.length < limit ? undefined : comparisons.at(-1),
      };
    },
    async ask(hours, apply) {
      const result = await pool.query<{ now: Date }>(ASK, [JSON.stringify(hours), apply]);
      const row = result.rows[0];
      if (row === undefined) throw new Error("the requests were not inserted");
      return row.now.getTime();
    },
    async unanswered(hours) {
      const result = await pool.query<{ hours: string }>(UNANSWERED, [JSON.stringify(hours)]);
      return Number(result.rows[0]?.hours ?? 0);
    },
    async bookedSince(sinceMs, hours) {
      const result = await pool.query<DriftRow>(REPAIRED, [new Date(sinceMs), JSON.stringify(hours)]);
      return result.rows.map(toDrift);
    },
  };
}

interface MeterRow {
  stripe_customer_id: string;
  event_name: string;
  now: Date;
  boundaries: Date[];
}

interface DriftRow {
  stripe_customer_id: string;
  event_name: string;
  span_start: Date;
  span_end: Date;
  expected: string;
  counted: string;
  explanation: DriftExplanation;
  repair: string;
}

function toDrift(row: DriftRow): BookedDrift {
  return {
    stripeCustomerId: row.stripe_customer_id,
    eventName: row.event_name,
    startMs: row.span_start.getTime(),
    endMs: row.span_end.getTime(),
    expected: BigInt(row.expected),
    counted: BigInt(row.counted),
    explanation: row.explanation,
    repair: row.repair,
  };
}
