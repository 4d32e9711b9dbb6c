// GetUsage and StreamUsage over the real ledger, against sums computed by hand from the same records.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { getUsage, type ReadUsageDependencies } from "../../../src/app/get-usage.ts";
import { OpaqueTokens } from "../../../src/app/opaque-tokens.ts";
import type { Ledger } from "../../../src/app/ports/ledger.ts";
import { UsageFeeds } from "../../../src/app/usage-feeds.ts";
import type { UsageRequest, UsageTotal, WatchEvent, WatchRequest } from "../../../src/app/usage-request.ts";
import { watchUsage } from "../../../src/app/watch-usage.ts";
import { MeteringError } from "../../../src/domain/errors.ts";
import { cutIntoWindows } from "../../../src/domain/period.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { DAY_MS, QUARTER_HOUR_MS } from "../../../src/domain/window.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { maintainPartitions } from "../../../src/postgres/partitions.ts";
import { postgresUsageReader } from "../../../src/postgres/usage-reader.ts";
import { postgresVoids } from "../../../src/postgres/void.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";

const SHARDS = 4;
const NOW_MS = Date.parse("2026-06-15T12:07:31.250Z");
const NEVER = new AbortController().signal;
const clock = testClock();
let database: TestDatabase;
let ledger: Ledger;
let deps: ReadUsageDependencies;
let feeds: UsageFeeds;

beforeAll(async () => {
  database = await createTestDatabase();
  const deployment = await openDeployment(database.pool, SHARDS, "postgres");
  await maintainPartitions(database.pool, NOW_MS, 40 * DAY_MS);
  clock.set(NOW_MS);
  ledger = postgresLedger(database.pool, testCatalog(), SHARDS);
  const reader = postgresUsageReader(database.pool, SHARDS, 3 * DAY_MS);
  deps = { reader, tokens: new OpaqueTokens(deployment.tokenKey), catalog: testCatalog(), clock, shardCount: SHARDS };
  feeds = new UsageFeeds(deps, 20);
});
afterAll(() => database.close());

function request(fields: Partial<UsageRequest> & { customerId: string }): UsageRequest {
  return {
    apiKeyId: undefined,
    models: [],
    meters: [],
    groupByApiKey: false,
    groupByModel: false,
    groupByLabels: [],
    over: "today",
    timeZone: "UTC",
    windowSize: "all",
    consistencyToken: "",
    pageSize: 100,
    pageToken: "",
    ...fields,
  };
}

function watch(fields: Partial<WatchRequest> & { customerId: string }): WatchRequest {
  const { apiKeyId, models, meters, groupByApiKey, groupByModel, groupByLabels } = request(fields);
  const pace = { minUpdateIntervalMs: 50, heartbeatIntervalMs: 1_000, resumeToken: new Uint8Array() };
  return { apiKeyId, models, meters, groupByApiKey, groupByModel, groupByLabels, over: "today", ...pace, ...fields };
}

async function failureOf(promise: Promise<unknown>) {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof MeteringError)) throw new Error(`expected a MeteringError, got ${String(error)}`);
  return error.failure;
}

/** Every page of a request, put together. */
async function allPages(first: UsageRequest): Promise<UsageTotal[]> {
  const totals: UsageTotal[] = [];
  let pageToken = "";
  do {
    const answer = await getUsage(deps, { ...first, pageToken }, { signal: NEVER });
    expect(answer.totals.length).toBeLessThanOrEqual(first.pageSize);
    totals.push(...answer.totals);
    pageToken = answer.nextPageToken;
  } while (pageToken !== "");
  return totals;
}

/** What a request must answer, summed from the records themselves. */
function expectedTotals(records: readonly UsageRecord[], asked: UsageRequest): UsageTotal[] {
  if (typeof asked.over === "string") throw new Error("an interval is wanted");
  const windows = cutIntoWindows(asked.over, asked.windowSize, asked.timeZone, 3000) ?? [];
  const sums = new Map<string, UsageTotal & { quantity: bigint; recordCount: bigint }>();
  for (const record of records) {
    const window = windows.find((w) => w.startMs <= record.eventTimeMs && record.eventTimeMs < w.endMs);
    if (window === undefined) continue;
    if (asked.apiKeyId !== undefined && record.apiKeyId !== asked.apiKeyId) continue;
    if (asked.models.length > 0 && !asked.models.includes(record.model)) continue;
    for (const { meter, quantity } of [...record.measurements, { meter: "requests", quantity: 1n }]) {
      if (asked.meters.length > 0 && !asked.meters.includes(meter)) continue;
      const apiKeyId = asked.groupByApiKey ? record.apiKeyId : "";
      const model = asked.groupByModel ? record.model : "";
      const labels = asked.groupByLabels.map((key) => [key, Object.fromEntries(record.labels)[key] ?? ""] as const);
      const key = JSON.stringify([windows.indexOf(window), meter, apiKeyId, model, labels]);
      const sum = sums.get(key) ?? {
        customerId: "",
        window,
        meter,
        apiKeyId,
        model,
        labels,
        quantity: 0n,
        recordCount: 0n,
      };
      sums.set(key, { ...sum, quantity: sum.quantity + quantity, recordCount: sum.recordCount + 1n });
    }
  }
  return [...sums.values()];
}

const canonical = (totals: readonly UsageTotal[]) =>
  totals.map((t) => JSON.stringify(t, (_, v: unknown) => (typeof v === "bigint" ? `${v}` : v))).sort();

describe("GetUsage", () => {
  test("equals sums taken from the records, for random records and requests", async () => {
    const seed = pickSeed();
    const random = randomFrom(seed);
    const below = (n: number) => Math.floor(random() * n);
    const one = <T>(choices: readonly [T, ...T[]]): T => choices[below(choices.length)] ?? choices[0];
    const customerId = `cus_random_${seed}`;
    const records = Array.from({ length: 1500 }, (_, i) =>
      usageRecord({
        customerId,
        idempotencyKey: `r${i}`,
        eventTimeMs: NOW_MS - below(30 * DAY_MS),
        apiKeyId: one(["", "key_a", "key_b"]),
        model: one(["", "m1", "m2", "ü/modell"]),
        measurements: one<Record<string, bigint>>([
          { input_tokens: BigInt(below(1e12)), output_tokens: 0n },
          { input_tokens: 5n },
          { cached_input_tokens: BigInt(below(1e6)), output_tokens: 2n },
        ]),
        labels: one<Record<string, string>>([{}, { team: "red" }, { team: "blue", other: "x" }]),
      }),
    );
    for (let i = 0; i < records.length; i += 200) await ledger.apply(records.slice(i, i + 200));
    for (let i = 0; i < 60; i += 1) {
      const startMs = Math.floor((NOW_MS - below(31 * DAY_MS)) / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
      const windowSize = one(["all", "quarter_hour", "hour", "day", "month"] as const);
      const most = windowSize === "quarter_hour" ? 500 : 2800;
      const asked = request({
        customerId,
        over: { startMs, endMs: startMs + (1 + below(most)) * QUARTER_HOUR_MS },
        timeZone: one(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
        windowSize,
        apiKeyId: one([undefined, undefined, "key_a", ""]),
        models: one<string[]>([[], ["m1"], ["", "ü/modell"]]),
        meters: one<string[]>([[], ["input_tokens"], ["requests"], ["output_tokens", "requests"]]),
        groupByApiKey: random() < 0.5,
        groupByModel: random() < 0.5,
        groupByLabels: one<string[]>([[], ["team"]]),
        pageSize: one([1000, 37, 200]),
      });
      const totals = await allPages(asked);
      expect(canonical(totals), `seed ${seed}`).toEqual(canonical(expectedTotals(records, asked)));
      const answer = await getUsage(deps, asked, { signal: NEVER });
      const tokens = totals.filter((t) => t.meter !== "requests").reduce((sum, t) => sum + t.quantity, 0n);
      expect(answer.tokensUsed, `seed ${seed}`).toBe(tokens);
      const requests = expectedTotals(records, { ...asked, meters: ["requests"] });
      expect(answer.requests, `seed ${seed}`).toBe(requests.reduce((sum, t) => sum + t.quantity, 0n));
    }
  });

  test("an unknown customer has used nothing, and may consume", async () => {
    const answer = await getUsage(deps, request({ customerId: "nobody", over: "default" }), { signal: NEVER });
    expect(answer).toMatchObject({ tokensUsed: 0n, requests: 0n, totals: [], nextPageToken: "" });
    expect(answer.billing).toEqual({
      subscriptionStatus: "",
      entitled: true,
      reported: new Map(),
      unreported: new Map(),
    });
    expect(answer.interval.startMs).toBe(Date.parse("2026-06-01T00:00:00Z"));
  });

  test("page tokens: forged, of another request, and of the wrong kind are told", async () => {
    const customerId = "cus_pages";
    await ledger.apply([usageRecord({ customerId, eventTimeMs: NOW_MS })]);
    const first = await getUsage(deps, request({ customerId, pageSize: 1 }), { signal: NEVER });
    const tokens = {
      forged: `${first.nextPageToken.slice(0, -2)}zz`,
      garbage: "hello",
      "of another kind": deps.tokens.consistencyToken(undefined),
    };
    for (const [name, pageToken] of Object.entries(tokens)) {
      const failure = await failureOf(
        getUsage(deps, request({ customerId, pageToken, pageSize: 1 }), { signal: NEVER }),
      );
      expect(failure, name).toMatchObject({ kind: "invalid_request", violations: [{ field: "page_token" }] });
    }
    const other = request({ customerId, pageToken: first.nextPageToken, groupByModel: true });
    expect(await failureOf(getUsage(deps, other, { signal: NEVER }))).toMatchObject({ kind: "invalid_request" });
    const more = await getUsage(deps, request({ customerId, pageToken: first.nextPageToken }), { signal: NEVER });
    expect(more.totals.map((t) => t.meter)).toEqual(["output_tokens", "requests"]);
    expect(more.billing).toBeUndefined();
  });

  test("a consistency token waits for the drain, and says when its stream is gone or time is up", async () => {
    const customerId = "cus_token";
    const shard = shardOf(customerId, SHARDS);
    await database.pool.query("UPDATE deployment SET intake = 'redis'");
    await ledger.adoptEpoch(shard, "", "e1", NOW_MS);
    const consistencyToken = deps.tokens.consistencyToken({ shard, epoch: "e1", entryId: "7-0" });
    const asked = request({ customerId, consistencyToken });
    const timeUp = await failureOf(getUsage(deps, asked, { signal: AbortSignal.timeout(100) }));
    expect(timeUp.kind).toBe("deadline_exceeded");
    const waiting = getUsage(deps, asked, { signal: NEVER });
    const move = { shard, epoch: "e1", fromEntryId: "0-0", toEntryId: "10-0", watermarkMs: NOW_MS + 1 };
    await ledger.apply([usageRecord({ customerId, eventTimeMs: NOW_MS })], move);
    expect(await waiting).toMatchObject({ requests: 1n, watermarkMs: NOW_MS + 1 });
    await ledger.adoptEpoch(shard, "e1", "e2", NOW_MS);
    expect((await failureOf(getUsage(deps, asked, { signal: NEVER }))).kind).toBe("token_expired");
    const forged = request({ customerId, consistencyToken: "AAAAAAAAAAAAAAAAAAAAAAAA" });
    expect((await failureOf(getUsage(deps, forged, { signal: NEVER }))).kind).toBe("invalid_request");
    const stranger = Array.from({ length: 9 }, (_, i) => `cus_${i}`).find((id) => shardOf(id, SHARDS) !== shard) ?? "";
    const ofAnother = request({ customerId: stranger, consistencyToken });
    expect((await failureOf(getUsage(deps, ofAnother, { signal: NEVER }))).kind).toBe("invalid_request");
    await database.pool.query("UPDATE deployment SET intake = 'postgres'");
  });
});

describe("StreamUsage", () => {
  function open(asked: WatchRequest) {
    const abort = new AbortController();
    const events = watchUsage(deps, feeds, asked, { signal: abort.signal });
    const next = async (): Promise<WatchEvent> => {
      const { value, done } = await events.next();
      if (done) throw new Error("the stream ended");
      return value;
    };
    const close = async () => {
      abort.abort();
      expect(await events.next()).toMatchObject({ done: true });
    };
    return { next, close };
  }
  const quantities = (event: WatchEvent) =>
    event.kind === "heartbeat" ? [] : event.totals.map((t) => `${t.meter}=${t.quantity}`);

  test("snapshot, then changed absolute totals only, then heartbeats; resumes without repeating", async () => {
    const customerId = "cus_watch";
    const put = (measurements: Record<string, bigint>) =>
      ledger.apply([usageRecord({ customerId, eventTimeMs: NOW_MS, measurements })]);
    await put({ input_tokens: 1n, output_tokens: 1n });
    const stream = open(watch({ customerId }));
    const snapshot = await stream.next();
    expect([snapshot.kind, ...quantities(snapshot)]).toEqual([
      "snapshot",
      "input_tokens=1",
      "output_tokens=1",
      "requests=1",
    ]);
    await put({ input_tokens: 4n });
    const update = await stream.next();
    expect([update.kind, ...quantities(update)]).toEqual(["update", "input_tokens=5", "requests=2"]);
    expect(update.watermarkMs).toBeGreaterThanOrEqual(snapshot.watermarkMs);
    const heartbeat = await stream.next();
    expect(heartbeat.kind).toBe("heartbeat");
    await stream.close();

    const resumed = open(watch({ customerId, resumeToken: heartbeat.resumeToken }));
    expect((await resumed.next()).kind).toBe("heartbeat");
    await resumed.close();
    await put({ output_tokens: 9n });
    const missed = open(watch({ customerId, resumeToken: heartbeat.resumeToken }));
    const caughtUp = await missed.next();
    expect([caughtUp.kind, ...quantities(caughtUp)]).toEqual([
      "snapshot",
      "input_tokens=5",
      "output_tokens=10",
      "requests=3",
    ]);
    await missed.close();
    const foreign = watch({ customerId, resumeToken: heartbeat.resumeToken, groupByModel: true });
    await expect(open(foreign).next()).rejects.toThrow(/other fields/);
  });

  test("a void: totals go down, one that is gone comes as 0, and who comes back gets a snapshot without it; as GetUsage reads", async () => {
    const customerId = "cus_watch_void";
    const voids = postgresVoids(database.pool, testCatalog(), SHARDS);
    const put = async (measurements: Record<string, bigint>) => {
      const record = usageRecord({ customerId, eventTimeMs: NOW_MS, measurements });
      await ledger.apply([record]);
      return () => voids.voidRecord({ customerId, idempotencyKey: record.idempotencyKey, reason: "test" });
    };
    await put({ input_tokens: 1n });
    const takeBack = await put({ input_tokens: 4n, output_tokens: 2n });
    const stream = open(watch({ customerId }));
    const snapshot = await stream.next();
    expect(quantities(snapshot)).toEqual(["input_tokens=5", "output_tokens=2", "requests=2"]);
    await takeBack();
    const update = await stream.next();
    expect([update.kind, ...quantities(update)]).toEqual(["update", "input_tokens=1", "requests=1", "output_tokens=0"]);
    expect(update).toMatchObject({ totals: expect.arrayContaining([expect.objectContaining({ recordCount: 0n })]) });
    // Told once, not with every later change.
    await put({ input_tokens: 2n });
    expect(quantities(await stream.next())).toEqual(["input_tokens=3", "requests=2"]);
    await stream.close();
    const resumed = open(watch({ customerId, resumeToken: snapshot.resumeToken }));
    const caughtUp = await resumed.next();
    expect([caughtUp.kind, ...quantities(caughtUp)]).toEqual(["snapshot", "input_tokens=3", "requests=2"]);
    await resumed.close();
    const answer = await getUsage(deps, request({ customerId }), { signal: NEVER });
    expect(answer).toMatchObject({ tokensUsed: 3n, requests: 2n });
    expect(answer.totals.map((t) => `${t.meter}=${t.quantity}`)).toEqual(["input_tokens=3", "requests=2"]);
  });

  test("a new snapshot when the period rolls over", async () => {
    const customerId = "cus_roll";
    clock.set(Date.parse("2026-06-15T23:59:59.500Z"));
    await ledger.apply([usageRecord({ customerId, eventTimeMs: NOW_MS, measurements: { input_tokens: 1n } })]);
    const stream = open(watch({ customerId }));
    expect(quantities(await stream.next())).toEqual(["input_tokens=1", "requests=1"]);
    const rolled = await stream.next();
    expect(rolled).toMatchObject({ kind: "snapshot", totals: [], interval: { startMs: Date.parse("2026-06-16") } });
    await stream.close();
    clock.set(NOW_MS);
  });

  test("a billing period that is renewed, or begun anew before its end, comes as a snapshot of that period alone", async () => {
    const customerId = "cus_renewed";
    const subscribe = (start: string, end: string) =>
      database.pool.query(
        `INSERT INTO subscription (subscription_id, stripe_customer_id, status, period_start, period_end)
         VALUES ('sub_renewed', $1, 'active', $2, $3)
         ON CONFLICT (subscription_id) DO UPDATE SET period_start = excluded.period_start, period_end = excluded.period_end`,
        [customerId, start, end],
      );
    const put = (at: string, quantity: bigint) =>
      ledger.apply([
        usageRecord({ customerId, eventTimeMs: Date.parse(at), measurements: { input_tokens: quantity } }),
      ]);
    await subscribe("2026-06-01T00:00:00Z", "2026-06-15T12:07:32Z");
    await put("2026-06-14T10:00:00Z", 1n);
    const stream = open(watch({ customerId, over: "billing_period" }));
    expect(quantities(await stream.next())).toEqual(["input_tokens=1", "requests=1"]);
    await subscribe("2026-06-15T12:07:32Z", "2026-07-15T12:07:32Z");
    const renewed = await stream.next();
    expect(renewed).toMatchObject({ kind: "snapshot", totals: [] });
    expect(renewed.kind === "snapshot" && renewed.interval.startMs).toBe(Date.parse("2026-06-15T12:07:32Z"));
    clock.set(Date.parse("2026-06-20T00:00:00Z"));
    await put("2026-06-16T00:00:00Z", 10n);
    expect(quantities(await stream.next())).toEqual(["input_tokens=10", "requests=1"]);
    await subscribe("2026-06-18T00:00:00Z", "2026-07-18T00:00:00Z");
    await put("2026-06-19T00:00:00Z", 100n);
    const begunAnew = await stream.next();
    expect([begunAnew.kind, ...quantities(begunAnew)]).toEqual(["snapshot", "input_tokens=100", "requests=1"]);
    await stream.close();
    clock.set(NOW_MS);
  });

  test("coalesces: a burst between two updates is one update, and the last totals are GetUsage's", async () => {
    const customerId = "cus_burst";
    const stream = open(watch({ customerId, minUpdateIntervalMs: 300 }));
    await stream.next();
    for (let i = 0; i < 20; i += 1) {
      await ledger.apply([usageRecord({ customerId, eventTimeMs: NOW_MS, measurements: { input_tokens: 1n } })]);
    }
    const seen: WatchEvent[] = [];
    while (!quantities(seen.at(-1) ?? (await push())).includes("input_tokens=20")) await push();
    async function push(): Promise<WatchEvent> {
      const event = await stream.next();
      seen.push(event);
      return event;
    }
    expect(seen.length).toBeLessThan(20);
    const answer = await getUsage(deps, request({ customerId }), { signal: NEVER });
    expect(quantities(seen.at(-1) as WatchEvent)).toEqual(answer.totals.map((t) => `${t.meter}=${t.quantity}`));
    await stream.close();
  });
});
