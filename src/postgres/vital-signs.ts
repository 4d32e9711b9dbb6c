// What metrics and alerts say of the ledger as a whole. Cheap enough for every process to ask every few seconds.
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const VITAL_SIGNS = sqlFile("vital-signs");
const DATABASE_SIZE = sqlFile("database-size");

/** As of one instant of the database's clock. */
export interface LedgerSigns {
  /** Of the shard that is furthest behind; undefined with Postgres intake, where there is no lag. */
  readonly watermarkLagMs: number | undefined;
  /** Drain workers that live. */
  readonly drainWorkers: number;
  /** Whether somebody leads the flush. */
  readonly leaseHeld: boolean;
  /** Losses of acknowledged records ever listed. */
  readonly gaps: number;
  /** When the latest of them was seen; undefined where there is none. */
  readonly lastGapMs: number | undefined;
  /** Webhook events stored and not applied yet, and those given up. */
  readonly stripeEvents: { readonly waiting: number; readonly dead: number };
}

interface Row {
  watermark_lag_ms: string | null;
  drain_workers: string;
  lease_held: boolean;
  gaps: string;
  last_gap_ms: string | null;
  stripe_events_waiting: string;
  stripe_events_dead: string;
}

/** One statement. Rejects when Postgres is away. */
export async function readLedgerSigns(pool: Pool): Promise<LedgerSigns> {
  const result = await pool.query<Row>(VITAL_SIGNS);
  const row = result.rows[0];
  if (row === undefined) throw new Error("the vital signs' query returned no row");
  return {
    watermarkLagMs: row.watermark_lag_ms === null ? undefined : Number(row.watermark_lag_ms),
    drainWorkers: Number(row.drain_workers),
    leaseHeld: row.lease_held,
    gaps: Number(row.gaps),
    lastGapMs: row.last_gap_ms === null ? undefined : Number(row.last_gap_ms),
    stripeEvents: { waiting: Number(row.stripe_events_waiting), dead: Number(row.stripe_events_dead) },
  };
}

/** Bytes on disk, the write-ahead log aside. How much room is left no client can ask Postgres. */
export async function readDatabaseBytes(pool: Pool): Promise<number> {
  const result = await pool.query<{ bytes: string }>(DATABASE_SIZE);
  return Number(result.rows[0]?.bytes ?? 0);
}
