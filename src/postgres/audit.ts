// The audit of the ledger, as the port has it.
import type { AuditLedger } from "../app/ports/audit.ts";
import { auditDay, keepPartitions, nameSeries } from "./audit-day.ts";
import { AppliedCatalogs } from "./catalogs.ts";
import { dayOf, listDays } from "./partitions.ts";
import { inTransaction, type Pool } from "./pool.ts";
import { type RebuildContext, rebuildDay } from "./rebuild.ts";
import { sqlFile } from "./sql-file.ts";

const CUSTOMERS = sqlFile("audit-customers");
const DAYS = sqlFile("audit-days");

/**
 * A snapshot, not the shard's lock: an apply, a void, a recut, a planning and a settlement are one transaction each, so that whatever one
 * snapshot shows belongs together; and summing a large day may take seconds, for which nobody's records shall wait.
 */
const BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

export function postgresAudit(pool: Pool, context: RebuildContext): AuditLedger {
  const catalogs = new AppliedCatalogs(context.catalog);
  return {
    async customers({ startMs, endMs }, after, limit) {
      const values = [after ?? "", limit, dayOf(startMs), dayOf(endMs)];
      const result = await pool.query<{ id: string }>(CUSTOMERS, values);
      return result.rows.map((row) => row.id);
    },
    async days(customerId, { startMs, endMs }) {
      const kept = await listDays(pool);
      const values = [customerId, dayOf(startMs), dayOf(endMs), kept];
      const result = await pool.query<{ day: string }>(DAYS, values);
      return result.rows.map((row) => Date.parse(row.day));
    },
    verify: (customerId, dayMs) =>
      inTransaction(
        pool,
        async (client) => {
          await keepPartitions(client);
          const { expected, differences } = await auditDay(client, catalogs, customerId, dayMs);
          return { verified: expected !== undefined, differences: await nameSeries(client, customerId, differences) };
        },
        BEGIN_SNAPSHOT,
      ),
    rebuild: (customerId, dayMs) => rebuildDay(pool, context, catalogs, customerId, dayMs),
  };
}
