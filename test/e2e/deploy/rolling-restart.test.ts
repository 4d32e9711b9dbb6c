// Every replica is replaced in turn, under load: no caller sees an error, and nothing is lost or counted twice.
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { MeteringClient } from "../../../src/rpc/client.ts";
import { testClock } from "../../support/clock.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";
import { EVENT_S, Scene } from "../restore/scene.ts";
import { Callers } from "./callers.ts";

const WORKER = "drain,flush,webhooks";

describeWithRedis("two API replicas and two workers", () => {
  test("a rolling restart under load", { timeout: 240_000 }, async ({ onTestFinished }) => {
    const { service, close } = await startService({ intake: "redis", processes: ["api", "api", WORKER, WORKER] });
    onTestFinished(close);
    const scene = new Scene(service);
    const [customerId = ""] = await scene.customers(1);
    const callers = new Callers(service, 8, customerId, EVENT_S);
    const acknowledged = () => callers.journal.acknowledged.size;
    const goesOn = async () => {
      const before = acknowledged();
      await expect.poll(acknowledged, { timeout: 30_000 }).toBeGreaterThan(before + 200);
    };
    await goesOn();
    for (const process of service.processes) {
      expect(await process.signal("SIGTERM"), process.log).toBe(0);
      // With the others alone.
      await goesOn();
      await process.start();
      await goesOn();
    }
    const journal = await callers.stop();
    expect(journal.failures).toEqual([]);
    const sent = journal.acknowledged.size;
    await expect.poll(() => scene.counted(customerId), { timeout: 60_000 }).toBe(sent);
    const client = new MeteringClient(service.api.grpcTarget, testClock());
    onTestFinished(() => client.close());
    const interval = { startTime: { seconds: BigInt(EVENT_S - 300) }, endTime: { seconds: BigInt(EVENT_S + 600) } };
    const usage = await client.getUsage({ customerId, over: { case: "interval", value: interval } }, 10_000);
    expect([usage.tokensUsed, usage.requests]).toEqual([BigInt(sent), BigInt(sent)]);
    await scene.must("verify");
    // Late repeats of what a retry had stored twice would come now.
    await delay(2_000);
    expect(await scene.counted(customerId)).toBe(sent);
  });
});
