// The two halves of a simulation, one after the other: one deployment sends through v1, the other through the stream. A world, a database
// and a simulated Stripe account each.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SinkName } from "../src/app/ports/reports.ts";
import { openPool } from "../src/postgres/pool.ts";
import { startEmbeddedPostgres } from "../src/process/embedded/embedded-postgres.ts";
import { playQuarter, type QuarterResult } from "./quarter.ts";
import { Random } from "./random.ts";
import { requestSizes } from "./trace-rows.ts";
import { drawWorld } from "./world.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly customers: number;
  readonly records: number;
  /** Nothing goes wrong. */
  readonly calm: boolean;
  /** A server on which databases may be made; undefined: one of its own. */
  readonly serverUrl: string | undefined;
}

export const SINKS: readonly SinkName[] = ["v1", "stream"];

export type Halves = ReadonlyMap<SinkName, QuarterResult>;

/**
 * `onProgress` hears percents. Rejects when the simulation itself fails, and when `interruption` does; what does not add up is in the
 * results.
 */
export async function play(
  options: SimulationOptions,
  interruption: Promise<never>,
  onProgress: (percent: number, what: string) => void,
): Promise<Halves> {
  const playOnServer = (url: string) => Promise.race([playOn(url, options, onProgress), interruption]);
  if (options.serverUrl !== undefined) return playOnServer(options.serverUrl);
  const dataDir = mkdtempSync(join(tmpdir(), "metering-simulate-billing-"));
  // The data is thrown away.
  const server = await startEmbeddedPostgres({ dataDir, settings: { fsync: "off" } });
  try {
    return await playOnServer(server.url("postgres"));
  } finally {
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

async function playOn(
  serverUrl: string,
  { seed, customers, records, calm }: SimulationOptions,
  onProgress: (percent: number, what: string) => void,
): Promise<Halves> {
  const sizes = await requestSizes(new Random(seed, "sizes"));
  const results = new Map<SinkName, QuarterResult>();
  for (const [i, sink] of SINKS.entries()) {
    const half = { customers: Math.ceil(customers / 2), records: Math.ceil(records / 2) };
    const world = drawWorld(seed, sink, half, sizes, { lateRecords: !calm, turbulence: !calm });
    const onDay = (share: number, date: string) =>
      onProgress(Math.floor((100 * (i + share)) / SINKS.length), `${sink}: ${date}`);
    const database = `simulation_${process.pid}_${sink}`;
    const result = await withDatabase(serverUrl, database, (databaseUrl) =>
      playQuarter({ seed, world, sink, calm, databaseUrl, onDay }),
    );
    results.set(sink, result);
  }
  return results;
}

async function withDatabase<T>(serverUrl: string, name: string, work: (url: string) => Promise<T>): Promise<T> {
  const admin = openPool({
    connectionString: serverUrl,
    applicationName: "simulation",
    maxConnections: 1,
    statementTimeoutMs: 60_000,
    onIdleError: () => {},
  });
  try {
    await admin.query(`CREATE DATABASE ${name} ENCODING 'UTF8'`);
    const url = new URL(serverUrl);
    url.pathname = `/${name}`;
    return await work(url.href).finally(() => admin.query(`DROP DATABASE ${name} WITH (FORCE)`));
  } finally {
    await admin.end();
  }
}
