// Postgres: the ledger, the outbox, accounts. This room owns SQL and transactions; nothing above it knows either.
// Connections and transactions.
import pg from "pg";

/** Anything that runs a query: the pool, or one connection inside a transaction. */
export type Queryable = Pick<pg.ClientBase, "query">;
export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

/** Limits of a pool. */
export interface PoolOptions {
  readonly connectionString: string;
  /** Shown by Postgres in pg_stat_activity. */
  readonly applicationName: string;
  /** Most connections. */
  readonly maxConnections: number;
  /** A statement that runs longer is cancelled by the server, and given up 3 s later where the server is silent. 0: no limit. */
  readonly statementTimeoutMs: number;
  /** Told of errors on idle connections; without a listener they would end the process. */
  readonly onIdleError: (error: Error) => void;
}

/** How long after its own limit the server's answer is waited for. */
const QUERY_GRACE_MS = 3_000;

/** Opens a pool lazily: the first query connects. int8 comes back as text and is parsed where it is mapped, never as a float. */
export function openPool(options: PoolOptions): Pool {
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    application_name: options.applicationName,
    max: options.maxConnections,
    statement_timeout: options.statementTimeoutMs,
    // The server's own limit says nothing when its machine is gone: without one here, a query would wait as long as TCP does, for hours.
    ...(options.statementTimeoutMs > 0 && { query_timeout: options.statementTimeoutMs + QUERY_GRACE_MS }),
    // A connection that cannot be had soon is an answer too: the caller is told to come again.
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  });
  pool.on("error", options.onIdleError);
  // Errors of a connection that is in use reject its queries, which is enough. They may also come between two of them, or in the very packet
  // that let it in, before anybody could listen: unheard, an "error" event ends the process.
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

/** Runs `work` in one transaction; any rejection rolls back. A connection that fails is thrown away, not given back. */
export async function inTransaction<T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
  begin = "BEGIN",
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query(begin);
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (cause) {
    try {
      await client.query("ROLLBACK");
    } catch (rollbackCause) {
      broken = rollbackCause instanceof Error ? rollbackCause : new Error(String(rollbackCause));
    }
    throw cause;
  } finally {
    client.release(broken);
  }
}
