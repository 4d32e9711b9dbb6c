// Wishes for a flush, as rows, so that any process may ask whoever leads.
import type { FlushRequests } from "../app/ports/reports.ts";
import { inFencedTransaction } from "./lease.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const INSERT = sqlFile("flush-request-insert");
const UNPLANNED = sqlFile("flush-request-unplanned");
const PLANNED = sqlFile("flush-request-planned");
const COMPLETE = sqlFile("flush-request-complete");
const IS_OPEN = sqlFile("flush-request-is-open");

/** Requests whose progress is written behind the lease named `leaseName`. */
export function postgresFlushRequests(pool: Pool, leaseName: string): FlushRequests {
  return {
    async request(customerId) {
      const result = await pool.query<{ request_id: string }>(INSERT, [customerId ?? null]);
      const row = result.rows[0];
      if (row === undefined) throw new Error("the flush request was not inserted");
      return BigInt(row.request_id);
    },
    async unplanned() {
      const result = await pool.query<{ request_id: string; customer_id: string | null }>(UNPLANNED);
      return result.rows.map((row) => {
        return { requestId: BigInt(row.request_id), customerId: row.customer_id ?? undefined };
      });
    },
    async planned(grant, requestIds) {
      await inFencedTransaction(pool, leaseName, grant, (client) => client.query(PLANNED, [requestIds]));
    },
    async complete(grant, sink) {
      const result = await inFencedTransaction(pool, leaseName, grant, (client) => client.query(COMPLETE, [sink]));
      return result.rowCount ?? 0;
    },
    async isComplete(requestId) {
      const result = await pool.query(IS_OPEN, [requestId]);
      return result.rowCount === 0;
    },
  };
}
