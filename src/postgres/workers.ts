// Which drain workers live, on the database's clock.
import type { WorkerRegistry } from "../app/ports/ledger.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const HEARTBEAT = sqlFile("worker-heartbeat");
const LEAVE = sqlFile("worker-leave");

/** A worker that was silent for so long is taken for dead, and its row goes. */
const DEAD_AFTER_MS = 6_000;

export function postgresWorkers(pool: Pool): WorkerRegistry {
  return {
    async heartbeat(workerId) {
      const result = await pool.query<{ worker_id: string }>(HEARTBEAT, [workerId, DEAD_AFTER_MS]);
      return result.rows.map((row) => row.worker_id);
    },
    async leave(workerId) {
      await pool.query(LEAVE, [workerId]);
    },
  };
}
