// The simulation's models of the ledger and of what reads it say what the statements say: the same records, voids and questions, drawn from
// a seed, to both. Compared after each: what it answered, and what stands in the shards.
import { expect, test } from "vitest";
import { CATALOG, MODELS } from "../../simulation/catalog.ts";
import { ModelLedger } from "../../simulation/core/model/ledger.ts";
import { ModelUsageReader } from "../../simulation/core/model/usage-reader.ts";
import { Random } from "../../simulation/random.ts";
import type {
  CursorMove,
  Ledger,
  UsageQuery,
  UsageReader,
  VoidLedger,
  VoidResult,
} from "../../src/app/ports/ledger.ts";
import { shardOf } from "../../src/domain/shard.ts";
import { compareText, fingerprintOf, type UsageRecord } from "../../src/domain/usage-record.ts";
import { openDeployment } from "../../src/postgres/deployment.ts";
import { postgresLedger } from "../../src/postgres/ledger.ts";
import { postgresUsageReader } from "../../src/postgres/usage-reader.ts";
import { postgresVoids } from "../../src/postgres/void.ts";
import { useTestDatabase } from "../support/postgres.ts";
import { pickSeed } from "../support/seed.ts";

const FIXED = [4, 95];
const FRESH = 2;
const OPERATIONS = 120;
const SHARDS = 2;
const MINUTE_MS = 60_000;
const ORIGIN_MS = Date.UTC(2026, 2, 3, 22);
const CUSTOMERS = ["cus_0", "cus_1", "cus_2"];
/** Not on a quarter-hour. */
const BOUNDARIES = [ORIGIN_MS + 100 * MINUTE_MS + 7_000, ORIGIN_MS + 400 * MINUTE_MS];
/** Kept labels are grouped by, others are not. */
const LABELLED = { ...CATALOG, rollupLabels: ["region"] };

interface Side {
  readonly ledger: Ledger;
  readonly voids: VoidLedger;
  readonly reader: UsageReader;
}

function modelSide(): Side {
  const model = new ModelLedger(SHARDS, LABELLED, { applied() {}, voided() {}, refused() {}, watermark() {} });
  for (const customerId of CUSTOMERS) model.boundaries.set(customerId, BOUNDARIES);
  const unknown = { billingPeriod: undefined, subscriptionStatus: "", entitled: true };
  const reader = new ModelUsageReader({ nowMs: () => 0, intake: "redis", ledger: model, account: () => unknown });
  return {
    ledger: {
      apply: async (records, move) => model.apply(records, move),
      shards: async () => model.shards(),
      adoptEpoch: async (...args) => model.adoptEpoch(...args),
      reportLostTail: async (...args) => model.reportLostTail(...args),
      raiseWatermarks: async (seen) => model.raiseWatermarks(seen),
    },
    voids: { voidRecord: async (request) => model.voidRecord(request, 0) },
    reader: {
      usage: async (query) => reader.usage(query),
      billing: async (...args) => reader.billing(...args),
      account: async (...args) => reader.account(...args),
      cursor: async (...args) => reader.cursor(...args),
      changes: async (known) => reader.changes(known),
    },
  };
}

async function postgresSide(): Promise<Side> {
  const { pool } = await useTestDatabase();
  await openDeployment(pool, SHARDS, "redis");
  for (const customerId of CUSTOMERS)
    for (const ms of BOUNDARIES)
      await pool.query("INSERT INTO period_boundary (customer_id, boundary) VALUES ($1, $2)", [
        customerId,
        new Date(ms),
      ]);
  return {
    ledger: postgresLedger(pool, LABELLED, SHARDS),
    voids: postgresVoids(pool, LABELLED, SHARDS),
    reader: postgresUsageReader(pool, SHARDS, 0),
  };
}

function drawRecord(random: Random): UsageRecord {
  const eventTimeMs = ORIGIN_MS + random.whole(0, 600) * MINUTE_MS + random.whole(0, 59_999);
  const bare = {
    customerId: random.pick(CUSTOMERS),
    // Few keys, so that some come again, as themselves or as others.
    idempotencyKey: `k${random.whole(0, 150)}`,
    apiKeyId: random.pick(["", "a", "b"]),
    model: random.pick(MODELS),
    labels: random.chance(0.5) ? [] : [["region", random.pick(["eu", "us"])] as const],
    measurements: [
      { meter: "input_tokens", quantity: BigInt(random.whole(0, 100)) },
      { meter: "output_tokens", quantity: BigInt(random.whole(1, 9)) },
    ].sort((x, y) => compareText(x.meter, y.meter)),
  };
  const sentEventTime = { seconds: BigInt(Math.floor(eventTimeMs / 1_000)), nanos: (eventTimeMs % 1_000) * 1_000_000 };
  return { ...bare, eventTimeMs, fingerprint: fingerprintOf({ ...bare, sentEventTime }) };
}

function drawQuery(random: Random): UsageQuery {
  const edges = [0, 15, 30, 120, 135, 480, 600].map((minutes) => ORIGIN_MS + minutes * MINUTE_MS).concat(BOUNDARIES);
  const chosen = [...new Set(Array.from({ length: random.whole(2, 5) }, () => random.pick(edges)))].sort(
    (a, b) => a - b,
  );
  const windows = chosen.slice(1).map((endMs, i) => ({ startMs: chosen[i] ?? 0, endMs }));
  // Whole days, too.
  const days = [{ startMs: ORIGIN_MS - 46 * 60 * MINUTE_MS, endMs: ORIGIN_MS + 26 * 60 * MINUTE_MS }];
  return {
    customerId: random.pick(CUSTOMERS),
    windows: windows.length === 0 || random.chance(0.3) ? days : windows,
    apiKeyId: random.chance(0.7) ? undefined : random.pick(["", "a"]),
    models: random.chance(0.7) ? [] : [random.pick(MODELS)],
    meters: random.chance(0.7) ? [] : ["output_tokens"],
    groupByApiKey: random.chance(0.5),
    groupByModel: random.chance(0.5),
    groupByLabels: random.chance(0.5) ? [] : ["region"],
    tokenMeters: ["input_tokens", "output_tokens"],
    after: undefined,
    limit: random.whole(1, 6),
  };
}

type Operation = (side: Side) => Promise<unknown>;

/** Each is drawn once and run on both. `keys`: of records that were there before. */
function drawOperation(random: Random, keys: UsageRecord[], step: number): Operation {
  const drawn = random.unit();
  if (drawn < 0.45) {
    const again = keys.length > 0 && random.chance(0.3) ? [random.pick(keys)] : [];
    const records = [...again, ...Array.from({ length: random.whole(1, 6) }, () => drawRecord(random))];
    keys.push(...records);
    return (side) => side.ledger.apply(records);
  }
  if (drawn < 0.6) return drawMove(random, keys, step);
  if (drawn < 0.7) {
    const shard = random.whole(0, SHARDS - 1);
    return async ({ ledger }) =>
      ledger.adoptEpoch(shard, (await ledger.shards())[shard]?.epoch ?? "", `e${step}`, step);
  }
  if (drawn < 0.75)
    return async ({ ledger }) =>
      ledger.raiseWatermarks((await ledger.shards()).map((row) => ({ ...row, watermarkMs: ORIGIN_MS + step })));
  if (drawn < 0.85 && keys.length > 0) {
    const { customerId, idempotencyKey } = random.pick(keys);
    return async ({ voids }) =>
      comparable(await voids.voidRecord({ customerId, idempotencyKey, reason: `at ${step}` }));
  }
  return async () => {};
}

function drawMove(random: Random, keys: UsageRecord[], step: number): Operation {
  const shard = random.whole(0, SHARDS - 1);
  const drawn = Array.from({ length: random.whole(1, 9) }, () => drawRecord(random));
  const records = drawn.filter(({ customerId }) => shardOf(customerId, SHARDS) === shard);
  keys.push(...records);
  const isStale = random.chance(0.1);
  return async ({ ledger }) => {
    const row = (await ledger.shards())[shard];
    const move: CursorMove = {
      shard,
      epoch: row?.epoch ?? "",
      fromEntryId: isStale ? "9-9" : (row?.cursor ?? ""),
      toEntryId: `${step + 1}-0`,
      watermarkMs: ORIGIN_MS + step,
    };
    return ledger.apply(records, move);
  };
}

/** All but the time, which is the database's own. */
function comparable(result: VoidResult): unknown {
  if (result.kind === "not_found") return result;
  const { voidedAtMs: _, ...record } = result.record;
  return { kind: result.kind, record };
}

/** All pages of a query, and what stands beside them. */
async function readAll({ ledger, reader }: Side, query: UsageQuery): Promise<unknown> {
  const pages: unknown[] = [];
  let after = query.after;
  do {
    const { more, ...page } = await reader.usage({ ...query, after });
    pages.push(page);
    const last = page.totals.at(-1);
    if (!more || last === undefined) break;
    const { windowIndex, meter, apiKeyId, model, labelValues } = last;
    after = { windowIndex, meter, apiKeyId, model, labelValues };
  } while (after !== undefined);
  const { reported, unreported } = await reader.billing(query.customerId, {
    startMs: ORIGIN_MS,
    endMs: BOUNDARIES[0] ?? 0,
  });
  const [shard] = await ledger.shards();
  const cursor = await reader.cursor(0, "e1");
  return {
    pages,
    billing: [[...reported].sort(), [...unreported].sort()],
    versions: (await reader.changes([])).map(({ version }) => version),
    shard,
    cursor,
  };
}

test("models and statements read the same", { timeout: 300_000 }, async () => {
  const fresh = pickSeed();
  const seen = new Set<string>();
  for (const seed of [...FIXED, ...Array.from({ length: FRESH }, (_, i) => fresh + i)]) {
    const random = new Random(seed, "records and questions");
    const [postgres, model] = [await postgresSide(), modelSide()];
    const keys: UsageRecord[] = [];
    for (let step = 0; step < OPERATIONS; step += 1) {
      const operation = drawOperation(random, keys, step);
      const query = drawQuery(random);
      const again = `SEED=${seed}, step ${step}`;
      const expected = await operation(postgres);
      expect(await operation(model), again).toEqual(expected);
      expect(await readAll(model, query), again).toEqual(await readAll(postgres, query));
      for (const kind of ["duplicate", "key_reused", "cursor_moved", "voided", "already_voided"])
        if (
          JSON.stringify(expected, (_, value) => (typeof value === "bigint" ? `${value}` : value))?.includes(
            `"${kind}"`,
          )
        )
          seen.add(kind);
    }
  }
  // Else they agree about little.
  expect([...seen].sort()).toEqual(["already_voided", "cursor_moved", "duplicate", "key_reused", "voided"]);
});
