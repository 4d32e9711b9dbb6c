// Meter catalogs that records were applied under. The configuration may change; what a record was summed by may not.
import { readCatalog, writeCatalog } from "../domain/catalog.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import type { Pool, Queryable } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const REGISTER = sqlFile("catalog-register");
const READ = sqlFile("catalog-read");

/** A catalog that the database knows. */
export interface RegisteredCatalog extends MeterCatalog {
  readonly catalogId: number;
}

/**
 * Registers a catalog with the first call and remembers its id for all others; a call that fails leaves the next one to try again.
 * One round trip in the life of a process. Any number of processes may register the same one: they get the same id.
 */
export function registerOnce(pool: Pool, catalog: MeterCatalog): () => Promise<RegisteredCatalog> {
  let registered: Promise<RegisteredCatalog> | undefined;
  return () => {
    registered ??= register(pool, catalog).catch((cause: unknown) => {
      registered = undefined;
      throw cause;
    });
    return registered;
  };
}

async function register(pool: Pool, catalog: MeterCatalog): Promise<RegisteredCatalog> {
  const { digest, body } = writeCatalog(catalog);
  const result = await pool.query<{ catalog_id: number }>(REGISTER, [digest, body]);
  const catalogId = result.rows[0]?.catalog_id;
  if (catalogId === undefined) throw new Error("a catalog was registered and got no id");
  return { ...catalog, catalogId };
}

/** Finds the catalog of a raw record. */
export class AppliedCatalogs {
  readonly #today: MeterCatalog;
  readonly #known = new Map<number, MeterCatalog>();

  /** `today`: for records that were applied before catalogs were kept. */
  constructor(today: MeterCatalog) {
    this.#today = today;
  }

  /** Reads those that were not read before; at most one round trip. Rejects when one is missing: sums would be guessed. */
  async load(client: Queryable, catalogIds: readonly (number | null)[]): Promise<void> {
    const wanted = [...new Set(catalogIds)].filter((id) => id !== null).filter((id) => !this.#known.has(id));
    if (wanted.length === 0) return;
    const result = await client.query<{ catalog_id: number; body: string }>(READ, [wanted]);
    for (const row of result.rows) this.#known.set(row.catalog_id, readCatalog(row.body));
    const missing = wanted.find((id) => !this.#known.has(id));
    if (missing !== undefined) throw new Error(`records were applied under catalog ${missing}, which is not kept`);
  }

  /** Of one that was loaded. */
  get(catalogId: number | null): MeterCatalog {
    const catalog = catalogId === null ? this.#today : this.#known.get(catalogId);
    if (catalog === undefined) throw new Error(`catalog ${catalogId} was not loaded`);
    return catalog;
  }
}
