// What this deployment is: fixed by the first start, checked by every later one.
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

export type IntakeKind = "redis" | "postgres";

export interface Deployment {
  readonly deploymentId: string;
  readonly shardCount: number;
  /** Signs opaque tokens; the same on every replica. */
  readonly tokenKey: string;
}

/** The configuration contradicts what the deployment was started with. The message says what to do. */
export class DeploymentError extends Error {
  override readonly name = "DeploymentError";
}

const OPEN = sqlFile("deployment-open");
const READ = sqlFile("deployment-read");

interface DeploymentRow {
  readonly deployment_id: string;
  readonly shard_count: number;
  readonly intake: IntakeKind;
  readonly token_key: string;
}

/**
 * Reads the deployment, making it on the very first start; concurrent first starts agree on one. Throws DeploymentError when
 * `shardCount` is another (records would change shards), or when records may still wait in a Redis that `intake` no longer reads.
 */
export async function openDeployment(pool: Pool, shardCount: number, intake: IntakeKind): Promise<Deployment> {
  const result = await pool.query<{
    deployment_id: string;
    shard_count: number;
    intake: IntakeKind;
    token_key: string;
  }>(OPEN, [shardCount, intake]);
  const row = result.rows[0];
  if (row === undefined) throw new Error("deployment row is missing after it was inserted");
  if (row.shard_count !== shardCount) {
    throw new DeploymentError(
      `METERING_SHARDS is ${shardCount}, but this deployment was started with ${row.shard_count}; it cannot be changed`,
    );
  }
  if (row.intake === "redis" && intake === "postgres") {
    throw new DeploymentError(
      "this deployment's intake is Redis and records may still wait there: set REDIS_URL " +
        '(to leave Redis for good, drain it, then run "metering migrate --leave-redis")',
    );
  }
  return toDeployment(row);
}

/** The deployment as it stands, for commands that take nothing in. Throws DeploymentError before its first start. */
export async function readDeployment(pool: Pool): Promise<Deployment> {
  const row = (await pool.query<DeploymentRow>(READ)).rows[0];
  if (row === undefined)
    throw new DeploymentError('this database has never served: start "metering serve" on it first');
  return toDeployment(row);
}

function toDeployment(row: DeploymentRow): Deployment {
  return { deploymentId: row.deployment_id, shardCount: row.shard_count, tokenKey: row.token_key };
}

/** Names of the service's processes that are connected to the database now. One that serves reads alone, and idles, may not be. */
export async function connectedProcesses(pool: Pool): Promise<readonly string[]> {
  const result = await pool.query<{ name: string }>(sqlFile("deployment-processes"));
  return result.rows.map(({ name }) => name);
}

/** Lets the deployment go on with Postgres intake. The operator has made sure that the drain is done: what waits in Redis is left there. */
export async function leaveRedis(pool: Pool): Promise<void> {
  await pool.query(sqlFile("deployment-leave-redis"));
}

/**
 * Gives a database that was restored from a backup another identity, so that no report planned from now on has the identifier of one that was
 * planned after the backup, and forgotten; and so that no Redis is taken for its own which remembers records that it does not hold. Reports
 * of the backup keep theirs. A repeat does no harm.
 */
export async function becomeAnother(pool: Pool): Promise<void> {
  await pool.query(sqlFile("deployment-become-another"));
}
