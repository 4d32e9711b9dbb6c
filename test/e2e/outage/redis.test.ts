// Redis is killed for 30 s under load: nothing that was acknowledged is lost, and the service comes back by itself.
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { describeWithRedis } from "../../support/redis.ts";
import { expectAllEqual, startReplay } from "../../support/replay.ts";
import { startService } from "../../support/service.ts";
import { madeUpTrace } from "../../support/trace.ts";
import { isUnderLoad, OUTAGE_MS, RECORDS_PER_SECOND, RPC_LIMIT_MS, tryRecord } from "./load.ts";

describeWithRedis("Redis is away", () => {
  test("callers are told to come again, and what they were told is stored stays", { timeout: 180_000 }, async ({
    onTestFinished,
  }) => {
    const { service, close } = await startService({ intake: "redis" });
    onTestFinished(close);
    const trace = madeUpTrace(4_000);
    const replay = startReplay(service, trace, ["--rate", String(RECORDS_PER_SECOND)]);
    await isUnderLoad(replay, service);

    await service.redis?.kill();
    const awayUntil = performance.now() + OUTAGE_MS;
    const refused = await tryRecord(service, "during");
    expect(refused).toMatchObject({ code: "UNAVAILABLE", reason: "INTAKE_UNAVAILABLE" });
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.tookMs).toBeLessThan(RPC_LIMIT_MS);
    await delay(awayUntil - performance.now());
    expect(await service.api.isReady(), "ready without Redis").toBe(false);
    expect(replay.isRunning, "still under load").toBe(true);
    await service.redis?.start();

    await service.api.waitUntilReady();
    expect(await tryRecord(service, "during")).toMatchObject({ code: "OK" });
    expectAllEqual(await replay.result(), trace, 1, service);
  });
});
