// Postgres is killed for 30 s under load: nothing that was acknowledged is lost, and the service comes back by itself.
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { PostgresServer } from "../../support/postgres-server.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { expectAllEqual, startReplay } from "../../support/replay.ts";
import { type Service, startService } from "../../support/service.ts";
import { madeUpTrace } from "../../support/trace.ts";
import { isUnderLoad, OUTAGE_MS, RECORDS_PER_SECOND, RPC_LIMIT_MS, tryRead, tryRecord } from "./load.ts";

test("with Postgres intake, callers are told to come again", { timeout: 180_000 }, async ({ onTestFinished }) => {
  await outage("postgres", onTestFinished, async (service) => {
    const refused = await tryRecord(service, "during");
    expect(refused).toMatchObject({ code: "UNAVAILABLE", reason: "INTAKE_UNAVAILABLE" });
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.tookMs).toBeLessThan(RPC_LIMIT_MS);
    return async () => expect(await service.api.isReady(), "ready without Postgres").toBe(false);
  });
});

describeWithRedis("with Redis intake", () => {
  test("records are taken all the time; only reads wait", { timeout: 180_000 }, async ({ onTestFinished }) => {
    await outage("redis", onTestFinished, async (service) => {
      expect(await tryRecord(service, "during")).toMatchObject({ code: "OK" });
      const read = await tryRead(service);
      expect(read).toMatchObject({ code: "UNAVAILABLE", reason: "LEDGER_UNAVAILABLE" });
      expect(read.retryAfterMs).toBeGreaterThan(0);
      const before = await service.api.metric("metering_records_total");
      return async () => {
        const taken = (await service.api.metric("metering_records_total")) - before;
        expect(taken, "records taken without Postgres").toBeGreaterThan((RECORDS_PER_SECOND * OUTAGE_MS * 0.5) / 1000);
        expect(await service.api.isReady(), "ready for records").toBe(true);
      };
    });
  });
});

/** `during` looks at the service as the outage begins, what it gives back as the outage ends. */
async function outage(
  intake: "redis" | "postgres",
  onTestFinished: (end: () => Promise<void>) => void,
  during: (service: Service) => Promise<() => Promise<void>>,
): Promise<void> {
  const postgres = await PostgresServer.start();
  onTestFinished(() => postgres.close());
  const { service, close } = await startService({ intake, databaseUrl: postgres.url });
  onTestFinished(close);
  const trace = madeUpTrace(4_000);
  const replay = startReplay(service, trace, ["--rate", String(RECORDS_PER_SECOND)]);
  await isUnderLoad(replay, service);

  await postgres.kill();
  const awayUntil = performance.now() + OUTAGE_MS;
  const atTheEnd = await during(service);
  await delay(awayUntil - performance.now());
  await atTheEnd();
  expect(replay.isRunning, "still under load").toBe(true);
  await postgres.start();

  await service.api.waitUntilReady();
  expectAllEqual(await replay.result(), trace, 1, service);
}
