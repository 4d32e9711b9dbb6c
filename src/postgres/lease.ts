// The lease: one row, all on the database's clock. Its epoch is the fence of everything that the holder writes (fence).
import { type Lease, type LeaseGrant, StaleLeaseError } from "../app/ports/reports.ts";
import { inTransaction, type Pool, type PoolClient, type Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const INSERT = sqlFile("lease-insert");
const ACQUIRE = sqlFile("lease-acquire");
const RENEW = sqlFile("lease-renew");
const RELEASE = sqlFile("lease-release");
const FENCE = sqlFile("lease-fence");
const LOCK_OUT = sqlFile("lease-lock-out");

/**
 * A fenced transaction of a leader that was paused in its middle would keep its successor from being appointed. The server ends it after
 * this time, which with the lease's own 6 s stays within the 10 s that a takeover may last.
 */
const BEGIN_FENCED = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '3s'";

/** Longest wait of whoever keeps the leader out. */
const LOCK_TIMEOUT_MS = 30_000;

/** The lease named `name`. Each call is one round trip (the first acquire two) and rejects when Postgres is away. */
export function postgresLease(pool: Pool, name: string): Lease {
  let rowExists = false;
  const grantOf = (rows: readonly { epoch: string }[], ttlMs: number): LeaseGrant | undefined => {
    const row = rows[0];
    return row && { epoch: BigInt(row.epoch), ttlMs };
  };
  return {
    async acquire(holder, ttlMs) {
      if (!rowExists) await pool.query(INSERT, [name]);
      rowExists = true;
      const result = await pool.query<{ epoch: string }>(ACQUIRE, [name, holder, ttlMs]);
      return grantOf(result.rows, ttlMs);
    },
    async renew({ epoch, ttlMs }) {
      const result = await pool.query<{ epoch: string }>(RENEW, [name, epoch, ttlMs]);
      return grantOf(result.rows, ttlMs);
    },
    async release({ epoch }) {
      await pool.query(RELEASE, [name, epoch]);
    },
  };
}

/**
 * Runs `work` in a transaction that commits only while `grant` is the last one given out for lease `name`; else rejects with
 * StaleLeaseError before `work` runs. `work` must not wait for anything but its own queries.
 */
export async function inFencedTransaction<T>(
  pool: Pool,
  name: string,
  grant: LeaseGrant,
  work: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const fenced = async (client: PoolClient) => {
    const fence = await client.query(FENCE, [name, grant.epoch]);
    if (fence.rowCount !== 1) throw new StaleLeaseError(`epoch ${grant.epoch} of lease "${name}" is not the last one`);
    return work(client);
  };
  return inTransaction(pool, fenced, BEGIN_FENCED);
}

/**
 * Keeps the leader's writes out until the end of the caller's transaction, and waits for those in their commit. Whoever else writes to
 * reports begins with it: the leader locks batches of them in orders of its own, so that without it the two would wait in a circle. The
 * caller holds up sending and the renewal of the lease: nothing slow may follow. Rejects when the turn does not come within 30 s, nor that of
 * any lock later in the transaction.
 */
export async function lockOutLeader(client: Queryable, name: string): Promise<void> {
  await client.query("SELECT set_config('lock_timeout', $1, true)", [String(LOCK_TIMEOUT_MS)]);
  await client.query(INSERT, [name]);
  await client.query(LOCK_OUT, [name]);
}
