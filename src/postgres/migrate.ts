// Migrations: numbered SQL files, applied in order, never edited after a release. A file whose first line is "-- breaking" makes older
// binaries refuse the schema; all others must leave older binaries working, so that a rolling upgrade migrates first.
//
//   database older than this binary    migrate applies what is missing; serve refuses
//   equal                              both fine
//   newer, nothing breaking            both fine: the next version is being rolled out
//   newer, something breaking          both refuse

import { hash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { inTransaction, type Pool, type Queryable } from "./pool.ts";

interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
  readonly breaking: boolean;
}

interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly breaking: boolean;
}

/** The database's schema does not fit this binary. The message says what to do. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

const FOLDER = new URL("./migrations/", import.meta.url);
/** Key of the advisory lock that makes concurrent migrators take turns. Any constant will do; it must never change. */
const LOCK_KEY = 7_220_261_123;

/** Applies what is missing, all in one transaction, and returns the names applied. Safe to run anywhere at any time. */
export async function migrate(pool: Pool): Promise<readonly string[]> {
  return inTransaction(pool, async (client) => {
    await requireUtf8(client);
    await client.query("SELECT pg_advisory_xact_lock($1)", [LOCK_KEY]);
    await client.query(
      `CREATE TABLE IF NOT EXISTS schema_migration (
         version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, breaking boolean NOT NULL,
         applied_at timestamptz NOT NULL DEFAULT now())`,
    );
    const applied = await readApplied(client);
    const known = readMigrations();
    refuseMisfit(known, applied);
    const missing = known.filter((m) => !applied.some((a) => a.version === m.version));
    for (const migration of missing) {
      await client.query(migration.sql);
      await client.query("INSERT INTO schema_migration (version, name, checksum, breaking) VALUES ($1, $2, $3, $4)", [
        migration.version,
        migration.name,
        migration.checksum,
        migration.breaking,
      ]);
    }
    return missing.map((m) => m.name);
  });
}

/** Throws SchemaError unless this binary can run on the database as it is. Changes nothing. */
export async function checkSchema(pool: Pool): Promise<void> {
  await requireUtf8(pool);
  const exists = await pool.query<{ found: boolean }>("SELECT to_regclass('schema_migration') IS NOT NULL AS found");
  const applied = exists.rows[0]?.found ? await readApplied(pool) : [];
  const known = readMigrations();
  refuseMisfit(known, applied);
  const missing = known.filter((m) => !applied.some((a) => a.version === m.version));
  if (missing.length > 0) {
    throw new SchemaError(
      `the database lacks ${missing.length} migration(s), first ${missing[0]?.name}: run "metering migrate" first`,
    );
  }
}

/** In any other encoding some model's or customer's name could not be stored, and would hold up its shard. */
async function requireUtf8(queryable: Queryable | Pool): Promise<void> {
  const result = await queryable.query<{ server_encoding: string }>("SHOW server_encoding");
  const encoding = result.rows[0]?.server_encoding;
  if (encoding !== "UTF8")
    throw new SchemaError(`the database's encoding is ${encoding}: make one with ENCODING 'UTF8'`);
}

function refuseMisfit(known: readonly Migration[], applied: readonly AppliedMigration[]): void {
  for (const row of applied) {
    const file = known.find((m) => m.version === row.version);
    if (file === undefined && row.breaking) {
      throw new SchemaError(`the database has migration ${row.name}, which needs a newer version of this service`);
    }
    if (file !== undefined && file.checksum !== row.checksum) {
      throw new SchemaError(`migration ${row.name} in the database differs from this version's: not the same history`);
    }
  }
}

async function readApplied(queryable: Queryable | Pool): Promise<readonly AppliedMigration[]> {
  const result = await queryable.query<AppliedMigration>(
    "SELECT version, name, checksum, breaking FROM schema_migration ORDER BY version",
  );
  return result.rows;
}

function readMigrations(): readonly Migration[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith(".sql"))
    .sort()
    .map((file) => {
      const sql = readFileSync(new URL(file, FOLDER), "utf8");
      const version = Number.parseInt(file.slice(0, 4), 10);
      const name = file.slice(0, -".sql".length);
      return { version, name, sql, checksum: hash("sha256", sql, "hex"), breaking: sql.startsWith("-- breaking") };
    });
}
