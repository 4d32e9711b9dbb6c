// The runbook's "Redis was lost", step by step: acknowledged records were still in it.
import { expect, test } from "vitest";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";
import { Scene, type Sent } from "./scene.ts";

describeWithRedis("Redis is lost, with records that nobody had drained", () => {
  test("the gap's bounds contain them; sent again under the same keys, all count once", { timeout: 240_000 }, async ({
    onTestFinished,
  }) => {
    const { service, close } = await startService({ intake: "redis", processes: ["api", "drain,flush,webhooks"] });
    onTestFinished(close);
    const scene = new Scene(service);
    const [customerId = ""] = await scene.customers(1);
    const records = (prefix: string, tokens: bigint): Sent[] =>
      Array.from({ length: 20 }, (_, i) => ({ customerId, idempotencyKey: `${prefix}${i}`, tokens, offsetS: i * 20 }));
    const drained = records("d", 1n);
    const lost = records("l", 100n);
    await scene.send(drained);
    await expect.poll(() => scene.counted(customerId), { timeout: 30_000 }).toBe(20);
    const [api, drain] = service.processes;
    await drain?.signal("SIGTERM");
    const sentFromMs = Date.now();
    await scene.send(lost);
    const sentToMs = Date.now();
    await service.redis?.wipe();
    await drain?.start();
    await api?.waitUntilReady();
    // The API takes new records at once, and its stream is a new one.
    await scene.send([{ customerId, idempotencyKey: "new", tokens: 1_000n }]);
    // 1.
    const gapOf = async () => JSON.parse(await scene.must("status", "--json")).gaps;
    await expect.poll(async () => (await gapOf()).length, { timeout: 30_000 }).toBeGreaterThan(0);
    for (const { lostFrom, lostTo } of await gapOf()) {
      expect(Date.parse(lostFrom)).toBeLessThanOrEqual(sentFromMs);
      expect(Date.parse(lostTo)).toBeGreaterThanOrEqual(sentToMs);
    }
    await expect.poll(() => scene.counted(customerId), { timeout: 30_000 }).toBe(1_020);
    // 2. What the callers sent in that time, and a little more.
    await scene.send([...drained, ...lost]);
    await expect.poll(() => scene.counted(customerId), { timeout: 30_000 }).toBe(3_020);
    // 3.
    await scene.must("verify");
    await scene.send([...drained, ...lost]);
    await scene.must("flush");
    expect(await scene.counted(customerId)).toBe(3_020);
  });
});
