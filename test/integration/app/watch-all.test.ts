// StreamUsage over all customers, over the real ledger.
import { expect, test as plain } from "vitest";
import { getUsage, type ReadUsageDependencies } from "../../../src/app/get-usage.ts";
import { OpaqueTokens } from "../../../src/app/opaque-tokens.ts";
import type { Ledger } from "../../../src/app/ports/ledger.ts";
import { SharedReading } from "../../../src/app/shared-reading.ts";
import { UsageFeeds } from "../../../src/app/usage-feeds.ts";
import type { WatchAllRequest, WatchEvent } from "../../../src/app/usage-request.ts";
import { watchAll } from "../../../src/app/watch-all.ts";
import { forgetActivity, postgresActivityReader } from "../../../src/postgres/activity.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { makePartitions } from "../../../src/postgres/partitions.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresUsageReader } from "../../../src/postgres/usage-reader.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { SYSTEM_CLOCK } from "../../../src/process/system-clock.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

const SHARDS = 4;
const LISTED = 3;

interface World {
  readonly pool: Pool;
  readonly ledger: Ledger;
  readonly deps: ReadUsageDependencies;
  use(customerId: string, key: string, tokens: bigint): Promise<void>;
  open(request?: Partial<WatchAllRequest>): AsyncGenerator<WatchEvent, void, undefined>;
}

const test = plain.extend<{ world: World }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names from here.
  world: async ({}, use) => {
    const { pool, close } = await createTestDatabase();
    const { tokenKey } = await openDeployment(pool, SHARDS, "postgres");
    const catalog = testCatalog();
    await makePartitions(pool, SYSTEM_CLOCK.nowMs());
    const reader = postgresUsageReader(pool, SHARDS, 0);
    const deps = { reader, tokens: new OpaqueTokens(tokenKey), catalog, clock: SYSTEM_CLOCK, shardCount: SHARDS };
    const ledger = postgresLedger(pool, catalog, SHARDS);
    const feeds = new UsageFeeds(deps, 20);
    const activity = new SharedReading(() => postgresActivityReader(pool).mostActive(LISTED), SYSTEM_CLOCK, 20);
    const ended = new AbortController();
    await use({
      pool,
      ledger,
      deps,
      use: async (customerId, idempotencyKey, quantity) => {
        const measurements = { input_tokens: quantity };
        const eventTimeMs = SYSTEM_CLOCK.nowMs();
        await ledger.apply([usageRecord({ customerId, idempotencyKey, measurements, eventTimeMs })], undefined);
      },
      open: (fields) =>
        watchAll(
          { ...deps, feeds, activity },
          {
            over: "current_month",
            meters: ["input_tokens"],
            resumeToken: new Uint8Array(),
            minUpdateIntervalMs: 50,
            heartbeatIntervalMs: 60_000,
            ...fields,
          },
          { signal: ended.signal },
        ),
    });
    ended.abort();
    await pool.end();
    await close();
  },
});

async function next(stream: AsyncGenerator<WatchEvent, void, undefined>): Promise<WatchEvent> {
  const { value } = await stream.next();
  if (value === undefined) throw new Error("the stream has ended");
  return value;
}

const told = (event: WatchEvent) => [
  event.kind,
  ...("totals" in event ? event.totals.map(({ customerId, quantity }) => `${customerId} ${quantity}`) : []),
];

test("the most active first, then what changed; who comes onto the list makes a snapshot", async ({ world }) => {
  await world.use("small", "a", 1n);
  await world.use("big", "a", 100n);
  await world.use("medium", "a", 10n);
  const stream = world.open();
  expect(told(await next(stream))).toEqual(["snapshot", "big 100", "medium 10", "small 1"]);
  await world.use("medium", "b", 5n);
  const update = await next(stream);
  expect(told(update)).toEqual(["update", "medium 15"]);
  await world.use("new", "a", 50n);
  expect(told(await next(stream))).toEqual(["snapshot", "big 100", "new 50", "medium 15"]);
  // What the stream told is what GetUsage tells.
  const asked = { over: "current_month", timeZone: "UTC", windowSize: "all", pageSize: 10 } as const;
  const none = { apiKeyId: undefined, models: [], groupByApiKey: false, groupByModel: false, groupByLabels: [] };
  const answer = await getUsage(
    world.deps,
    { customerId: "new", meters: ["input_tokens"], consistencyToken: "", pageToken: "", ...none, ...asked },
    { signal: new AbortController().signal },
  );
  expect(answer.totals.map(({ quantity }) => quantity)).toEqual([50n]);
});

test("a void brings a total down; the customer stays listed", async ({ world }) => {
  await world.use("one", "a", 7n);
  await world.use("one", "b", 5n);
  const stream = world.open();
  expect(told(await next(stream))).toEqual(["snapshot", "one 12"]);
  const voids = postgresVoids(world.pool, testCatalog(), SHARDS);
  await voids.voidRecord({ customerId: "one", idempotencyKey: "a", reason: "test" });
  expect(told(await next(stream))).toEqual(["update", "one 5"]);
  await voids.voidRecord({ customerId: "one", idempotencyKey: "b", reason: "test" });
  expect(told(await next(stream))).toEqual(["update", "one 0"]);
});

test("nobody was active: an empty snapshot with a watermark, heartbeats, then the first customer", async ({
  world,
}) => {
  const before = SYSTEM_CLOCK.nowMs();
  const stream = world.open({ heartbeatIntervalMs: 1_000 });
  const first = await next(stream);
  expect(told(first)).toEqual(["snapshot"]);
  const beat = await next(stream);
  expect(beat.kind).toBe("heartbeat");
  expect(beat.watermarkMs).toBeGreaterThanOrEqual(first.watermarkMs);
  // The database's clock is this machine's.
  expect(first.watermarkMs).toBeGreaterThan(before - 5_000);
  await world.use("first", "a", 3n);
  let event = await next(stream);
  while (event.kind === "heartbeat") event = await next(stream);
  expect(told(event)).toEqual(["snapshot", "first 3"]);
});

test("resumes with a snapshot; a token of another request is refused", async ({ world }) => {
  await world.use("one", "a", 7n);
  const { resumeToken } = await next(world.open());
  expect(told(await next(world.open({ resumeToken })))).toEqual(["snapshot", "one 7"]);
  await expect(next(world.open({ resumeToken, over: "today" }))).rejects.toMatchObject({
    failure: { kind: "invalid_request", violations: [{ field: "resume_token" }] },
  });
});

test("activity of an hour ago is neither listed nor kept", async ({ world }) => {
  await world.use("one", "a", 7n);
  await world.pool.query("UPDATE customer_activity SET minute = minute - interval '20 minutes'");
  expect(told(await next(world.open()))).toEqual(["snapshot"]);
  await forgetActivity(world.pool);
  expect((await world.pool.query("SELECT 1 FROM customer_activity")).rowCount).toBe(1);
  await world.pool.query("UPDATE customer_activity SET minute = minute - interval '11 minutes'");
  await forgetActivity(world.pool);
  expect((await world.pool.query("SELECT 1 FROM customer_activity")).rowCount).toBe(0);
});
