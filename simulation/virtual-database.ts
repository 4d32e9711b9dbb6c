// A database of the service on virtual time: its now() and clock_timestamp() are functions of ours, found before PostgreSQL's own because
// their schema comes first in the connections' search_path. The service's SQL, migrations included, is as it is in production.
import { migrate } from "../src/postgres/migrate.ts";
import { openPool, type Pool } from "../src/postgres/pool.ts";

const SCHEMA = `
CREATE SCHEMA virtual_time;
CREATE UNLOGGED TABLE virtual_time.instant (at timestamptz NOT NULL);
INSERT INTO virtual_time.instant VALUES ('epoch');
CREATE FUNCTION virtual_time.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM virtual_time.instant';
CREATE FUNCTION virtual_time.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM virtual_time.instant'`;
const MOVE = { name: "move", text: "UPDATE virtual_time.instant SET at = $1" };
/** Waits until the backends are gone, so that what a dead process did in the database is over. */
const CUT_OFF = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1";
const EXPIRE = "UPDATE lease SET expires_at = (SELECT at FROM virtual_time.instant) WHERE holder = $1";

export class VirtualDatabase {
  /** For the simulation itself: not on virtual time's search_path, and not counted as activity. */
  readonly admin: Pool;
  readonly #url: string;

  private constructor(admin: Pool, url: string) {
    this.admin = admin;
    this.#url = url;
  }

  /** Makes it, migrated at `nowMs`, in an empty database. */
  static async create(url: string, nowMs: number): Promise<VirtualDatabase> {
    const shadowed = new URL(url);
    shadowed.searchParams.set("options", "-c search_path=public,virtual_time,pg_catalog");
    const database = new VirtualDatabase(open(url, "simulation", 3), shadowed.href);
    await database.admin.query(SCHEMA);
    await database.moveTo(nowMs);
    const pool = database.connect("migration");
    await migrate(pool);
    await pool.end();
    return database;
  }

  /** A pool as a process of the service has it. */
  connect(applicationName: string): Pool {
    return open(this.#url, applicationName, 10);
  }

  async moveTo(nowMs: number): Promise<void> {
    await this.admin.query({ ...MOVE, values: [new Date(nowMs)] });
  }

  /** Ends all connections of that name. */
  async cutOff(applicationName: string): Promise<void> {
    await this.admin.query(CUT_OFF, [applicationName]);
  }

  /** The lease that this holder has runs out. */
  async expireLease(holder: string): Promise<void> {
    await this.admin.query(EXPIRE, [holder]);
  }

  async close(): Promise<void> {
    await this.admin.end();
  }
}

function open(connectionString: string, applicationName: string, maxConnections: number): Pool {
  return openPool({
    connectionString,
    applicationName,
    maxConnections,
    statementTimeoutMs: 60_000,
    // Connections break whenever a process of the simulation dies.
    onIdleError: () => {},
  });
}
