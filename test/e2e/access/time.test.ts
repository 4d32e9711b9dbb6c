// Credentials as time goes by: last uses, ends, and what a server that lost its database still believes.
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FaultyProxy } from "../../../chaos/proxy.ts";
import { readDeployment } from "../../../src/postgres/deployment.ts";
import { freePort } from "../../../src/process/embedded/free-port.ts";
import { DashboardTokens } from "../../../src/rpc/dashboard-tokens.ts";
import { testClock } from "../../support/clock.ts";
import { runCommand } from "../../support/command.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { type RunningService, startService } from "../../support/service.ts";
import { bearer, connectClient, eventually, makeToken, metering, post } from "./calls.ts";

const environment = { METERING_AUTH: "tokens" };
/** Long enough for a busy machine to open a stream in. */
const LIFE_MS = 20_000;

let database: TestDatabase;
let running: RunningService;

beforeAll(async () => {
  database = await createTestDatabase();
  running = await startService({ intake: "postgres", processes: ["api"], databaseUrl: database.url, environment });
}, 120_000);
afterAll(async () => {
  await running.close();
  await database.close();
});

/** A dashboard's token that is good for so long yet: made a while ago, by the same code and key as the service's. */
async function pageGoodFor(customerId: string, leftMs: number): Promise<{ token: string; expiresMs: number }> {
  const clock = testClock();
  const ttlMs = 60_000;
  clock.set(Date.now() - ttlMs + leftMs);
  return new DashboardTokens(await readDeployment(database.pool), clock).create({ customerId }, ttlMs);
}

/** Opens a stream and reads it to its end, which must be the refusal of its credential, and come when that ends and not before. */
async function streamUntil(token: string, expiresMs: number): Promise<void> {
  let events = 0;
  let end: unknown;
  try {
    for await (const _ of connectClient(running.service, token).streamUsage({ customerId: "acme" })) events += 1;
  } catch (cause) {
    end = cause;
  }
  expect(events).toBeGreaterThan(0);
  expect(end instanceof ConnectError && end.code).toBe(Code.Unauthenticated);
  // Both clocks are this machine's.
  expect(Date.now()).toBeGreaterThanOrEqual(expiresMs);
}

test("a stream ends when its access token expires", { timeout: 120_000 }, async () => {
  const seconds = LIFE_MS / 1000;
  const more = ["--customers", "acme", "--expires-in", `${seconds}s`];
  const made = await makeToken(running.service, "read", ...more);
  const tokens = await metering<{ tokenId: string; expiresAt: string }[]>(running.service, "tokens", "list");
  const expiresAt = tokens.find(({ tokenId }) => tokenId === made.tokenId)?.expiresAt ?? "";
  await streamUntil(made.secret, Date.parse(expiresAt));
  expect((await post(running.service, "GetUsage", { customerId: "acme" }, bearer(made.secret))).status).toBe(401);
});

test("a stream ends when its dashboard's token expires", { timeout: 120_000 }, async () => {
  const { token, expiresMs } = await pageGoodFor("acme", LIFE_MS);
  await streamUntil(token, expiresMs);
});

test("a dashboard's token that expired a second ago is none; one that is good for a while is", async () => {
  const read = async (token: string) =>
    (await post(running.service, "GetUsage", { customerId: "acme" }, bearer(token))).status;
  expect(await read((await pageGoodFor("acme", 30_000)).token)).toBe(200);
  expect(await read((await pageGoodFor("acme", -1_000)).token)).toBe(401);
  // Signed by this deployment for a time to come: a clock that ran ahead, or a key that leaked.
  expect(await read((await pageGoodFor("acme", 3_600_000)).token)).toBe(401);
});

test("the last use of a token is written, at the latest as the server ends; a wrong secret is no use", {
  timeout: 120_000,
}, async ({ onTestFinished }) => {
  const own = await startService({ intake: "postgres", processes: ["api"], environment });
  onTestFinished(() => own.close());
  const beforeMs = Date.now();
  const used = await makeToken(own.service, "read", "--customers", "acme");
  // Known to a server as soon as the one that was made after it; neither it nor its wrong secret was ever let in.
  const unused = await metering(own.service, "tokens", "create", "unused", "--scopes", "read", "--customers", "acme");
  const last = await makeToken(own.service, "read", "--customers", "acme");
  const wrong = `${unused["secret"]?.slice(0, -1)}${unused["secret"]?.endsWith("0") ? "1" : "0"}`;
  expect((await post(own.service, "GetUsage", { customerId: "acme" }, bearer(wrong))).status).toBe(401);
  await own.service.api.signal("SIGTERM");
  const tokens = await metering<{ tokenId: string; lastUsedAt?: string }[]>(own.service, "tokens", "list");
  const lastUses = new Map(tokens.map(({ tokenId, lastUsedAt }) => [tokenId, lastUsedAt]));
  for (const { tokenId } of [used, last])
    expect(Date.parse(lastUses.get(tokenId) ?? "")).toBeGreaterThanOrEqual(beforeMs);
  expect(lastUses.get(unused["tokenId"] ?? "")).toBeNull();
});

describeWithRedis("with Redis", () => {
  test("a server that lost its database believes in a revoked token for METERING_ACCESS_STALE_MAX at most", {
    timeout: 240_000,
  }, async ({ onTestFinished }) => {
    const own = await createTestDatabase();
    onTestFinished(() => own.close());
    const proxy = await FaultyProxy.start(await freePort(), Number(new URL(own.url).port));
    onTestFinished(() => proxy.close());
    const proxied = Object.assign(new URL(own.url), { hostname: "127.0.0.1", port: String(proxy.port) });
    const { service, close } = await startService({
      intake: "redis",
      processes: ["api"],
      databaseUrl: proxied.href,
      environment: { ...environment, METERING_ACCESS_STALE_MAX: "10s" },
    });
    onTestFinished(close);
    const token = await makeToken(service, "record", "--customers", "acme");
    const record = async () => {
      const measurements = [{ meter: "input_tokens", quantity: "1" }];
      const request = { record: { idempotencyKey: "1", customerId: "acme", measurements } };
      const { body } = await post(service, "RecordUsage", request, bearer(token.secret));
      return body["code"] ?? "taken";
    };
    expect(await record()).toBe("taken");
    proxy.behave("refused");
    const elsewhere = { ...service.environment, DATABASE_URL: own.url };
    expect((await runCommand(["tokens", "revoke", token.tokenId], elsewhere)).exitCode).toBe(0);
    // It cannot know. That it goes on at all is what lets callers record through an outage.
    const firstMs = performance.now();
    const first = await record();
    if (performance.now() - firstMs < 5_000) expect(first).toBe("taken");
    await eventually(async () => expect(await record()).toBe("unavailable"));
    proxy.behave("pass");
    await eventually(async () => expect(await record()).toBe("unauthenticated"));
  });
});
