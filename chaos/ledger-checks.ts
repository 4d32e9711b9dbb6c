// Reads the ledger, in the end, past the service: is each acknowledged record in it once, and do its sums add up?
import { identityOf } from "../simulation/core/model/ledger.ts";
import { contentOf, type Oracle } from "../simulation/core/oracle.ts";
import type { UsageRecord } from "../src/domain/usage-record.ts";
import type { Pool } from "../src/postgres/pool.ts";
import { type Account, type Evidence, shardOfRecord } from "./evidence.ts";
import type { Reading } from "./watchers.ts";

/** Read at a time. */
const PAGE = 20_000;

/** A loss that the service owned up to. */
export interface Gap {
  readonly shard: number;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface LedgerFindings {
  readonly records: number;
  /** Acknowledged, and neither in the ledger, nor listed as refused, nor inside a reported gap. */
  readonly lost: number;
  /** In the ledger more than once. */
  readonly doubled: number;
  /** Acknowledged, lost with the store that was wiped, and inside a gap that the service reported. */
  readonly lostInGaps: number;
  /** Listed as refused: acknowledged under a key that stood for other usage, while the store that would have known was wiped. */
  readonly refused: number;
  readonly gaps: readonly Gap[];
}

interface RawRow {
  readonly customer_id: string;
  readonly idempotency_key: string;
  readonly api_key_id: string;
  readonly time_ms: string;
  readonly model: string;
  readonly measurements: Readonly<Record<string, number>>;
}

export interface LedgerCheckOptions {
  readonly pool: Pool;
  readonly oracle: Oracle;
  readonly evidence: Evidence;
  /** When Redis came back empty. */
  readonly wipesMs: readonly number[];
  readonly readings: readonly Reading[];
}

export async function checkLedger(options: LedgerCheckOptions): Promise<LedgerFindings> {
  const { pool, oracle, evidence } = options;
  const doubled = await readRecords(pool, oracle);
  await readRefused(pool, oracle);
  const gaps = await readGaps(pool);
  const missing = [...evidence.accounts.values()].flatMap((variants) =>
    [...variants.values()].filter((account) => account.ackMs !== undefined && !isCounted(account, oracle)),
  );
  const refused = missing.filter((account) => isRefused(account, options));
  const known = new Set(refused);
  const inGaps = missing.filter((account) => !known.has(account) && isInGap(account, gaps, options.wipesMs));
  const excused = new Set([...refused, ...inGaps]);
  const lost = missing.filter((account) => !excused.has(account));
  for (const { identity, record, firstSentMs, ackMs } of lost)
    oracle.fail(
      "acknowledged",
      `${identity}, sent at ${iso(firstSentMs)} and acknowledged at ${iso(ackMs ?? 0)}, is neither in the ledger nor in a gap of shard ${shardOfRecord(record)}`,
      identity,
    );
  if (gaps.length > 0 && options.wipesMs.length === 0)
    oracle.fail("gaps", `${gaps.length} gaps are reported, and no store was wiped`);
  checkReadings(options, gaps);
  await checkSums(pool, oracle);
  return {
    records: oracle.applied.size,
    lost: lost.length,
    doubled,
    lostInGaps: inGaps.length,
    refused: refused.length,
    gaps,
  };
}

/** All raw records, into the oracle; how many are there twice. */
async function readRecords(pool: Pool, oracle: Oracle): Promise<number> {
  let after: readonly [string, string] = ["", ""];
  let doubled = 0;
  for (;;) {
    const { rows } = await pool.query<RawRow>(
      `SELECT customer_id, idempotency_key, api_key_id, (extract(epoch FROM event_time) * 1000)::bigint AS time_ms, model, measurements
       FROM usage_record WHERE (customer_id, idempotency_key) > ($1, $2) ORDER BY customer_id, idempotency_key LIMIT ${PAGE}`,
      [...after],
    );
    for (const row of rows) {
      const record = toRecord(row);
      if (oracle.applied.has(identityOf(record))) doubled += 1;
      oracle.counts(record);
    }
    const last = rows.at(-1);
    if (last === undefined) return doubled;
    // A key that is there on two days could straddle a page: both rows have it, and the next page begins after it. Looked for apart.
    after = [last.customer_id, last.idempotency_key];
    if (rows.length < PAGE) break;
  }
  const { rows } = await pool.query<{ customer_id: string; idempotency_key: string }>(
    "SELECT customer_id, idempotency_key FROM usage_record GROUP BY 1, 2 HAVING count(*) > 1",
  );
  if (rows.length > doubled) oracle.fail("counted once", `${rows.length} keys are in the ledger on several days`);
  return Math.max(doubled, rows.length);
}

async function readRefused(pool: Pool, oracle: Oracle): Promise<void> {
  const { rows } = await pool.query<{ record: RefusedJson; reason: string }>(
    "SELECT record, reason FROM refused_record",
  );
  for (const { record, reason } of rows) {
    const refused = toRecord({
      customer_id: record.customerId,
      idempotency_key: record.idempotencyKey,
      api_key_id: record.apiKeyId,
      time_ms: String(record.eventTimeMs),
      model: record.model,
      measurements: record.measurements,
    });
    if (reason !== "key_reused")
      oracle.fail("refused", `${identityOf(refused)} is refused as ${reason}`, identityOf(refused));
    oracle.refuses(refused);
  }
}

interface RefusedJson {
  readonly customerId: string;
  readonly idempotencyKey: string;
  readonly apiKeyId: string;
  readonly eventTimeMs: number;
  readonly model: string;
  readonly measurements: Readonly<Record<string, number>>;
}

async function readGaps(pool: Pool): Promise<Gap[]> {
  const { rows } = await pool.query<{ shard: number; lost_from: Date | null; lost_to: Date }>(
    "SELECT shard, lost_from, lost_to FROM gap ORDER BY gap_id",
  );
  return rows.map((row) => ({ shard: row.shard, fromMs: row.lost_from?.getTime() ?? 0, toMs: row.lost_to.getTime() }));
}

function isCounted({ identity, content }: Account, oracle: Oracle): boolean {
  const counted = oracle.applied.get(identity);
  return counted !== undefined && contentOf(counted) === content;
}

/** Told OK and listed as refused: that may be only where the store that knew the key was wiped meanwhile. */
function isRefused(account: Account, { oracle, evidence, wipesMs }: LedgerCheckOptions): boolean {
  if (!oracle.refused.has(`${account.identity} ${account.content}`)) return false;
  const variants = [...(evidence.accounts.get(account.identity)?.values() ?? [])];
  const firstSentMs = Math.min(...variants.map(({ firstSentMs: ms }) => ms));
  return wipesMs.some((ms) => firstSentMs <= ms && ms <= (account.ackMs ?? 0));
}

/**
 * It was stored between its first sending and its acknowledgement: a gap that ends before, or begins after, does not contain it. And it was
 * stored before the wipe that the gap tells of: what was sent after that and acknowledged may not be missing.
 */
function isInGap(account: Account, gaps: readonly Gap[], wipesMs: readonly number[]): boolean {
  const { lastAckedSentMs } = account;
  return gaps.some(
    (gap) => mayBeInGap(account, [gap]) && wipesMs.some((wipeMs) => lastAckedSentMs <= wipeMs && wipeMs <= gap.toMs),
  );
}

function mayBeInGap({ record, firstSentMs, ackMs = 0 }: Account, gaps: readonly Gap[]): boolean {
  const shard = shardOfRecord(record);
  return gaps.some((gap) => gap.shard === shard && gap.fromMs <= ackMs && gap.toMs >= firstSentMs);
}

/** All that was acknowledged before a watermark, and is in the ledger now, was in the count that was told with it. */
function checkReadings({ oracle, evidence, readings }: LedgerCheckOptions, gaps: readonly Gap[]): void {
  const acknowledged = new Map<string, number[]>();
  for (const variants of evidence.accounts.values())
    for (const account of variants.values()) {
      if (account.ackMs === undefined || !isCounted(account, oracle)) continue;
      // What a wiped store may have lost is in the ledger since somebody sent it again: nobody knows since when.
      if (mayBeInGap(account, gaps)) continue;
      const list = acknowledged.get(account.record.customerId) ?? [];
      acknowledged.set(account.record.customerId, list);
      list.push(account.ackMs);
    }
  for (const list of acknowledged.values()) list.sort((a, b) => a - b);
  for (const { customerId, atMs, watermarkMs, requests } of readings) {
    const before = countBelow(acknowledged.get(customerId) ?? [], watermarkMs);
    if (requests < BigInt(before))
      oracle.fail(
        "watermark",
        `at ${iso(atMs)} GetUsage told ${requests} records of ${customerId} with the watermark ${iso(watermarkMs)}, but ${before} were acknowledged before that`,
        customerId,
      );
  }
}

function countBelow(ascending: readonly number[], limit: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] ?? limit) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rollups, by quarter-hour and by day, and windows on their way to Stripe hold what the records add up to, worked out here. */
async function checkSums(pool: Pool, oracle: Oracle): Promise<void> {
  const measured = new Map<string, bigint>();
  for (const { customerId, model, apiKeyId, measurements } of oracle.applied.values())
    for (const { meter, quantity } of [...measurements, { meter: "requests", quantity: 1n }])
      add(measured, `${customerId} ${apiKeyId} ${model} ${meter}`, quantity);
  for (const table of ["rollup_quarter_hour", "rollup_day"]) {
    const { rows } = await pool.query<{ name: string; sum: string }>(
      `SELECT concat_ws(' ', s.customer_id, s.api_key_id, s.model, s.meter) AS name, sum(t.quantity)::text AS sum
       FROM ${table} t JOIN series s USING (customer_id, series_id) GROUP BY 1`,
    );
    compare(oracle, "sums", table, measured, new Map(rows.map(({ name, sum }) => [name, BigInt(sum)])));
  }
  const { rows } = await pool.query<{ name: string; sum: string }>(
    "SELECT concat_ws(' ', customer_id, event_name) AS name, sum(total)::text AS sum FROM pending_window GROUP BY 1",
  );
  compare(oracle, "sums", "windows", oracle.billable(), new Map(rows.map(({ name, sum }) => [name, BigInt(sum)])));
}

function add(sums: Map<string, bigint>, name: string, quantity: bigint): void {
  sums.set(name, (sums.get(name) ?? 0n) + quantity);
}

function compare(
  oracle: Oracle,
  checker: string,
  where: string,
  expected: ReadonlyMap<string, bigint>,
  found: ReadonlyMap<string, bigint>,
): void {
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    const [a, b] = [expected.get(name) ?? 0n, found.get(name) ?? 0n];
    if (a !== b) oracle.fail(checker, `${name}: records add up to ${a}, ${where} hold ${b}`, name.split(" ")[0] ?? "");
  }
}

/** In the order of the domain: measurements by meter. */
function toRecord(row: RawRow): UsageRecord {
  return {
    customerId: row.customer_id,
    idempotencyKey: row.idempotency_key,
    apiKeyId: row.api_key_id,
    eventTimeMs: Number(row.time_ms),
    model: row.model,
    measurements: Object.keys(row.measurements)
      .sort()
      .map((meter) => ({ meter, quantity: BigInt(row.measurements[meter] ?? 0) })),
    labels: [],
    fingerprint: "",
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
