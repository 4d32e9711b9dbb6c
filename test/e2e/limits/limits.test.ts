// Limits of API keys in a deployment of two replicas: defined on one, told and asked on the other.
import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { AdminService } from "../../../gen/metering/admin/v1/admin_service_pb.ts";
import { KeyService } from "../../../gen/metering/admin/v1/key_service_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { LimitWindow } from "../../../gen/metering/v1/usage_pb.ts";
import { runCommand } from "../../support/command.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";

const PATIENTLY = { timeout: 30_000, interval: 100 };
const KEY = { customerId: "acme", apiKeyId: "key_1" };
const KEY_ARGS = [KEY.customerId, KEY.apiKeyId];

async function open(intake: "postgres" | "redis") {
  const environment = { METERING_ADMIN_API: "true" };
  const { service, close } = await startService({ intake, processes: ["api,drain", "api,drain"], environment });
  const [one, other] = service.processes.map(({ httpUrl }) =>
    createConnectTransport({ baseUrl: httpUrl, httpVersion: "1.1" }),
  );
  if (one === undefined || other === undefined) throw new Error("two processes were asked for");
  const keys = createClient(KeyService, one);
  const admin = createClient(AdminService, one);
  const metering = createClient(MeteringService, other);
  const record = (quantity: bigint, idempotencyKey: string = randomUUID()) =>
    metering.recordUsage({ record: { ...KEY, idempotencyKey, measurements: [{ meter: "input_tokens", quantity }] } });
  const command = async (...args: string[]) => {
    const { exitCode, stdout, stderr } = await runCommand([...args, "--json"], service.environment);
    if (exitCode !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  };
  return { service, close, admin, keys, metering, record, command };
}

/** Of the day: a minute may end at any time. */
const leftToday = (limits: readonly { window: LimitWindow; remaining: bigint }[]) =>
  limits.find(({ window }) => window === LimitWindow.DAY)?.remaining;

test("what is left is told with each record, a repeat takes nothing, and a key that refuses is refused on a check alone", {
  timeout: 120_000,
}, async ({ onTestFinished }) => {
  const { close, keys, metering, record, command } = await open("postgres");
  onTestFinished(close);
  await record(5n, "before");
  await keys.createKey({ key: { ...KEY, tokensPerMinute: 1_000n, tokensPerDay: 100n } });
  await vi.waitFor(async () => expect(leftToday((await metering.checkLimits(KEY)).limits)).toBe(95n), PATIENTLY);
  expect(leftToday((await record(10n, "a")).limits)).toBe(85n);
  expect(leftToday((await record(10n, "a")).limits)).toBe(85n);
  const answers = await Promise.all(Array.from({ length: 20 }, () => record(2n)));
  expect(answers.map(({ limits }) => limits.length)).toEqual(answers.map(() => 2));
  const { limits } = await metering.getUsage(KEY);
  expect(leftToday(limits)).toBe(45n);
  expect(limits.map(({ limit }) => limit)).toEqual([1_000n, 100n]);
  // Nothing that happened is refused.
  expect(leftToday((await record(60n)).limits)).toBe(-15n);
  expect(leftToday((await metering.checkLimits({ ...KEY, estimatedTokens: 1n })).limits)).toBe(-15n);
  await command("keys", "update", ...KEY_ARGS, "--disable");
  await vi.waitFor(
    () => expect(metering.checkLimits(KEY)).rejects.toMatchObject({ rawMessage: "this API key is disabled" }),
    PATIENTLY,
  );
  await record(1n);
  expect(await command("keys", "show", ...KEY_ARGS)).toMatchObject({
    disabled: true,
    perDay: "100",
    left: [{ window: "minute" }, { window: "day", remaining: "-16" }],
  });
  await keys.deleteKey(KEY);
  await vi.waitFor(async () => expect((await metering.checkLimits(KEY)).limits).toEqual([]), PATIENTLY);
  expect(await command("keys", "list")).toEqual([]);
});

describeWithRedis("with Redis intake", () => {
  test("what is left is told with each record, before the ledger has it, on whatever replica", {
    timeout: 120_000,
  }, async ({ onTestFinished }) => {
    const { close, admin, keys, metering, record, command } = await open("redis");
    onTestFinished(close);
    await record(5n, "before");
    await command("keys", "create", ...KEY_ARGS, "--per-minute", "1000", "--per-day", "100");
    // Seeded by what the first records after it find.
    await vi.waitFor(async () => expect(leftToday((await record(5n, "before")).limits)).toBe(95n), PATIENTLY);
    expect(leftToday((await record(10n, "a")).limits)).toBe(85n);
    expect(leftToday((await record(10n, "a")).limits)).toBe(85n);
    await Promise.all(Array.from({ length: 20 }, () => record(2n)));
    expect(leftToday((await metering.checkLimits(KEY)).limits)).toBe(45n);
    const { limits } = await metering.getUsage(KEY);
    expect(leftToday(limits)).toBe(45n);
    expect(limits.map(({ limit }) => limit)).toEqual([1_000n, 100n]);
    expect(leftToday((await record(60n)).limits)).toBe(-15n);
    // Once the ledger has it, it can be taken back.
    const voided = { customerId: KEY.customerId, idempotencyKey: "a", reason: "test" };
    await vi.waitFor(() => admin.voidRecord(voided), PATIENTLY);
    await vi.waitFor(async () => expect(leftToday((await metering.checkLimits(KEY)).limits)).toBe(-5n), PATIENTLY);
    await keys.deleteKey(KEY);
    await vi.waitFor(async () => expect((await record(1n)).limits).toEqual([]), PATIENTLY);
  });
});
