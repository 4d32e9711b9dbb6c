// What streams share, over the real ledger: queries, and the news of whose totals changed.
import { expect, test as plain, vi } from "vitest";
import type { ReadUsageDependencies } from "../../../src/app/get-usage.ts";
import { OpaqueTokens } from "../../../src/app/opaque-tokens.ts";
import type { Ledger, UsageReader } from "../../../src/app/ports/ledger.ts";
import { UsageFeeds } from "../../../src/app/usage-feeds.ts";
import type { WatchEvent, WatchRequest } from "../../../src/app/usage-request.ts";
import { watchUsage } from "../../../src/app/watch-usage.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { makePartitions } from "../../../src/postgres/partitions.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { postgresUsageReader } from "../../../src/postgres/usage-reader.ts";
import { SYSTEM_CLOCK } from "../../../src/process/system-clock.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";

/** All customers are neighbours on one shard. */
const SHARDS = 1;

interface World {
  readonly pool: Pool;
  readonly ledger: Ledger;
  readonly reader: UsageReader;
  readonly feeds: UsageFeeds;
  /** Queries for totals so far, by customer. */
  readonly reads: Map<string, number>;
  use(customerId: string, quantity: bigint): Promise<void>;
  /** What has come so far of a stream of one meter. */
  watch(
    customerId: string,
    request?: Partial<WatchRequest>,
  ): { readonly events: WatchEvent[]; readonly over: Promise<void>; end(): Promise<void> };
}

const test = plain.extend<{ world: World }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names from here.
  world: async ({}, use) => {
    const { pool, close } = await createTestDatabase();
    const { tokenKey } = await openDeployment(pool, SHARDS, "postgres");
    await makePartitions(pool, SYSTEM_CLOCK.nowMs());
    const postgres = postgresUsageReader(pool, SHARDS, 0);
    const reads = new Map<string, number>();
    const reader: UsageReader = {
      ...postgres,
      usage: (query) => {
        reads.set(query.customerId, (reads.get(query.customerId) ?? 0) + 1);
        return postgres.usage(query);
      },
    };
    const tokens = new OpaqueTokens(tokenKey);
    const deps: ReadUsageDependencies = {
      reader,
      tokens,
      catalog: testCatalog(),
      clock: SYSTEM_CLOCK,
      shardCount: SHARDS,
    };
    const feeds = new UsageFeeds(deps, 20);
    const ledger = postgresLedger(pool, testCatalog(), SHARDS);
    const ends: (() => Promise<void>)[] = [];
    const watch: World["watch"] = (customerId, fields) => {
      const abort = new AbortController();
      const events: WatchEvent[] = [];
      const asked: WatchRequest = {
        customerId,
        apiKeyId: undefined,
        models: [],
        meters: ["input_tokens"],
        groupByApiKey: false,
        groupByModel: false,
        groupByLabels: [],
        over: "current_month",
        resumeToken: new Uint8Array(),
        minUpdateIntervalMs: 50,
        heartbeatIntervalMs: 60_000,
        ...fields,
      };
      const over = (async () => {
        for await (const event of watchUsage(deps, feeds, asked, { signal: abort.signal })) events.push(event);
      })();
      const end = async () => {
        abort.abort();
        await over;
      };
      over.catch(() => {});
      ends.push(end);
      return { events, over, end };
    };
    const put: World["use"] = async (customerId, quantity) => {
      const measurements = { input_tokens: quantity };
      await ledger.apply([usageRecord({ customerId, measurements, eventTimeMs: SYSTEM_CLOCK.nowMs() })]);
    };
    await use({ pool, ledger, reader: postgres, feeds, reads, use: put, watch });
    await Promise.allSettled(ends.map((end) => end()));
    await pool.end();
    await close();
  },
});

const lastOf = (events: readonly WatchEvent[]) =>
  events.flatMap((event) => (event.kind === "heartbeat" ? [] : event.totals.map((t) => t.quantity))).at(-1);

async function until(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 30_000, interval: 20 });
}

test("a neighbour on the shard costs a stream no query, and a hundred equal streams cost one", async ({ world }) => {
  await world.use("busy", 1n);
  const quiet = world.watch("quiet");
  const busy = Array.from({ length: 100 }, () => world.watch("busy"));
  await until(() => {
    expect(quiet.events).toHaveLength(1);
    for (const one of busy) expect(one.events).toHaveLength(1);
  });
  expect(world.feeds.size).toBe(2);
  // At their start, the streams share what was asked for before it was read; the first look at the shard may ask once more.
  expect(world.reads.get("busy")).toBeLessThanOrEqual(3);
  const before = world.reads.get("busy") ?? 0;
  const quietBefore = world.reads.get("quiet");
  for (let i = 0; i < 10; i += 1) {
    await world.use("busy", 1n);
    await until(() => {
      for (const one of busy) expect(lastOf(one.events)).toBe(BigInt(i + 2));
    });
  }
  expect((world.reads.get("busy") ?? 0) - before).toBeLessThanOrEqual(20);
  expect(world.reads.get("quiet")).toBe(quietBefore);
  expect(quiet.events).toHaveLength(1);
});

test("heartbeats cost no query, and their watermark is as true as a reading's", async ({ world }) => {
  await world.use("one", 1n);
  const { events } = world.watch("one", { heartbeatIntervalMs: 1_000 });
  await until(() => expect(events.map((e) => e.kind)).toEqual(["snapshot", "heartbeat"]));
  const [snapshot, heartbeat] = events;
  expect(heartbeat?.watermarkMs).toBeGreaterThan(snapshot?.watermarkMs ?? Number.POSITIVE_INFINITY);
  expect(world.reads.get("one")).toBeLessThanOrEqual(2);
});

test("what the ring no longer knows is read again: no change is missed", async ({ world }) => {
  await world.use("one", 1n);
  const { events } = world.watch("one");
  await until(() => expect(lastOf(events)).toBe(1n));
  // As after a crash of Postgres, which empties the table, in one transaction with a change.
  await world.pool.query(
    "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM shard_change; RETURN NULL; END'",
  );
  await world.pool.query(
    "CREATE TRIGGER forget AFTER INSERT ON shard_change FOR EACH STATEMENT EXECUTE FUNCTION forget()",
  );
  await world.use("one", 4n);
  await until(() => expect(lastOf(events)).toBe(5n));
});

test("who changed since a version: exactly those, and anybody once it is too long ago", async ({ world }) => {
  const [start] = await world.reader.changes([]);
  expect(start?.customers).toBeUndefined();
  const version = start?.version ?? -1n;
  expect((await world.reader.changes([version]))[0]).toMatchObject({ version, customers: [] });
  await world.use("b", 1n);
  await world.use("a", 1n);
  await world.use("a", 1n);
  const [since] = await world.reader.changes([version]);
  expect(since?.version).toBe(version + 3n);
  expect([...(since?.customers ?? [])].sort()).toEqual(["a", "b"]);
  expect((await world.reader.changes([version + 1n]))[0]?.customers).toEqual(["a"]);
  for (let i = 0; i < 254; i += 1) await world.use("c", 1n);
  expect((await world.reader.changes([version]))[0]?.customers).toBeUndefined();
  expect((await world.reader.changes([version + 1n]))[0]?.customers).toHaveLength(2);
});

test("a ledger that is away ends the streams with its reason, and later ones go on", async ({ world }) => {
  await world.use("one", 1n);
  const { events, over } = world.watch("one");
  await until(() => expect(events).toHaveLength(1));
  await world.pool.query("ALTER TABLE shard_change RENAME TO away");
  await expect(over).rejects.toThrow(/shard_change/);
  await world.pool.query("ALTER TABLE away RENAME TO shard_change");
  const again = world.watch("one");
  await until(() => expect(lastOf(again.events)).toBe(1n));
  await world.use("one", 2n);
  await until(() => expect(lastOf(again.events)).toBe(3n));
});
