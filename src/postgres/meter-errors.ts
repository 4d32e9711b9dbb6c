// Error reports: kept, and applied to the outbox.
import type { MeterErrorReport, MeterErrors } from "../app/ports/meter-errors.ts";
import { lockOutLeader } from "./lease.ts";
import { inTransaction, type Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const SAVE = sqlFile("meter-error-save");
const HOLD = sqlFile("meter-error-hold");
const COMPARE = sqlFile("meter-error-compare");

/** Of reports that are sent behind the lease named `leaseName`. Rejects when Postgres is away; a repeat does no harm. */
export function postgresMeterErrors(pool: Pool, leaseName: string): MeterErrors {
  return {
    /**
     * One transaction: a crash anywhere in it leaves nothing, one after it everything, and the repeat that follows changes nothing.
     *
     * 1. keep the leader out, which also orders error reports among each other; 2. the error report; 3. hold what it names;
     * 4. ask for the comparison of what it may be about beyond that.
     */
    apply(report) {
      return inTransaction(pool, async (client) => {
        await lockOutLeader(client, leaseName); // 1
        const start = new Date(report.validation.startMs);
        const end = new Date(report.validation.endMs);
        await client.query(SAVE, [report.eventId, report.eventName ?? null, start, end, toRows(report)]); // 2
        const identifiers = report.errors.flatMap(({ samples }) => samples.map(({ identifier }) => identifier));
        const held = await client.query<{ reason: string; reports: string }>(HOLD, [identifiers, end]); // 3
        const compared = await client.query(COMPARE, [identifiers, report.eventName ?? null, start, end]); // 4
        const counts = new Map(held.rows.map(({ reason, reports }) => [reason, Number(reports)]));
        const sending = counts.get(SENDING) ?? 0;
        counts.delete(SENDING);
        return { held: counts, sending, spans: compared.rowCount ?? 0 };
      });
    },
  };
}

/** How the statement names reports that are being sent; no code of Stripe's is empty. */
const SENDING = "";

function toRows({ errors }: MeterErrorReport): string {
  return JSON.stringify(errors.map(({ code, count, samples }) => ({ code, count, samples })));
}
