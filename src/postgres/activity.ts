// Who was active of late.
import type { ActivityReader } from "../app/ports/ledger.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";
import { reading } from "./unavailable.ts";

const TOP = { name: "activity-top", text: sqlFile("activity-top") };
const FORGET = sqlFile("activity-forget");

/** Rejects with ledger_unavailable while Postgres is away. Cost: linear in the customers that were active, times the minutes they were. */
export function postgresActivityReader(pool: Pool): ActivityReader {
  return {
    mostActive: (limit) =>
      reading(async () => {
        const result = await pool.query<{ customers: string[]; watermark: Date }>({ ...TOP, values: [limit] });
        const row = result.rows[0];
        if (row === undefined) throw new Error("activity-top returned no row");
        return { customerIds: row.customers, watermarkMs: row.watermark.getTime() };
      }),
  };
}

/** Drops what is too old to be asked for. Idempotent. */
export async function forgetActivity(pool: Pool): Promise<void> {
  await pool.query(FORGET);
}
