// Reads the status of the whole deployment.
import type { Status } from "../app/ports/status.ts";
import type { Pool } from "./pool.ts";
import { readDeadlines } from "./reports.ts";
import { sqlFile } from "./sql-file.ts";

const STATUS = sqlFile("status");

/** Two statements. Cost: linear in what is open, held, late or was accepted in the last day, not in what was ever reported. */
export async function readStatus(pool: Pool): Promise<Status> {
  const result = await pool.query<{ status: Omit<Status, "deadlines"> }>(STATUS);
  const status = result.rows[0]?.status;
  if (status === undefined) throw new Error("the status query returned no row");
  return { ...status, deadlines: await readDeadlines(pool) };
}
