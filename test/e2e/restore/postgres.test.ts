// The runbook's "A restored database", step by step: with its own commands, on a real base backup.
import { expect, test, vi } from "vitest";
import { PostgresServer } from "../../support/postgres-server.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";
import { EVENT_S, Scene, type Sent } from "./scene.ts";

const processes = ["api,drain,webhooks", "flush"];
const hour = new Date((EVENT_S - 300) * 1_000).toISOString().replace(":00.000Z", "Z");

/** Everything up to the disaster: records before the backup and after it, all of them at Stripe. */
async function untilTheDisaster(intake: "postgres" | "redis", onTestFinished: (end: () => Promise<void>) => void) {
  const postgres = await PostgresServer.start();
  onTestFinished(() => postgres.close());
  const { service, close } = await startService({ intake, processes, databaseUrl: postgres.url });
  onTestFinished(close);
  const scene = new Scene(service);
  const [early = "", both = "", late = ""] = await scene.customers(3);
  const before: Sent[] = [
    { customerId: early, idempotencyKey: "e1", tokens: 3n },
    { customerId: both, idempotencyKey: "b1", tokens: 5n },
  ];
  const since: Sent[] = [
    { customerId: both, idempotencyKey: "b2", tokens: 7n },
    { customerId: both, idempotencyKey: "b3", tokens: 11n, offsetS: 60 },
    { customerId: late, idempotencyKey: "l1", tokens: 13n },
    { customerId: late, idempotencyKey: "l2", tokens: 17n, offsetS: 1_800 },
  ];
  const reported = async () => {
    await expect
      .poll(async () => JSON.parse(await scene.must("status", "--json")).pending.windows, { timeout: 30_000 })
      .toBe(0);
    await scene.must("flush");
  };
  await scene.send(before);
  await expect.poll(() => scene.counted(both), { timeout: 30_000 }).toBe(5);
  await reported();
  await postgres.backUp();
  await scene.send(since);
  await expect.poll(() => scene.counted(late), { timeout: 30_000 }).toBe(30);
  // The same minute once more: under the sequence that a restored ledger would give to a repair.
  const again: Sent = { customerId: both, idempotencyKey: "b4", tokens: 29n };
  await scene.send([again]);
  await expect.poll(() => scene.counted(both), { timeout: 30_000 }).toBe(52);
  since.push(again);
  await reported();
  const totals = async () => Promise.all([early, both, late].map((id) => scene.counted(id)));
  expect(await totals()).toEqual([3, 52, 30]);
  return { postgres, service, scene, since, totals };
}

test("recovered to the last commit: nothing is missing, and nothing is done", { timeout: 240_000 }, async ({
  onTestFinished,
}) => {
  const { postgres, service, scene, since, totals } = await untilTheDisaster("postgres", onTestFinished);
  await postgres.restore("last_commit");
  await Promise.all(service.processes.map((process) => process.waitUntilReady()));
  // Until the last of the log is in, it is read-only, and callers are told to come again.
  expect(await vi.waitFor(() => scene.send(since), { timeout: 30_000, interval: 500 })).toBe(since.length);
  await scene.must("verify");
  await scene.must("flush");
  await scene.must("stripe", "reconcile", "--from", hour);
  expect(await totals()).toEqual([3, 52, 30]);
});

for (const intake of ["postgres", "redis"] as const)
  (intake === "redis" ? describeWithRedis : (_: string, run: () => void) => run())(`${intake} intake`, () => {
    test(`set back to a backup, with ${intake} intake: the runbook's steps end with the right totals at Stripe`, {
      timeout: 240_000,
    }, async ({ onTestFinished }) => {
      const { postgres, service, scene, since, totals } = await untilTheDisaster(intake, onTestFinished);
      await Promise.all(service.processes.map((process) => process.signal("SIGTERM")));
      await postgres.restore("backup");
      // 1.
      await scene.must("migrate", "--restored");
      await service.redis?.command("FLUSHALL");
      const [api, flush] = service.processes;
      await api?.start();
      // 2.
      await scene.must("verify");
      expect(await scene.send(since)).toBe(0);
      await expect
        .poll(async () => JSON.parse(await scene.must("status", "--json")).pending.windows, { timeout: 30_000 })
        .toBe(4);
      // 3.
      const found = await scene.metering("stripe", "reconcile", "--from", hour, "--json");
      expect(found.exitCode).toBe(1);
      const drifts: { difference: string; explanation: string }[] = JSON.parse(found.stdout).drifts;
      expect(new Set(drifts.map(({ explanation }) => explanation))).toEqual(new Set(["foreign"]));
      expect(drifts.reduce((sum, { difference }) => sum + Number(difference), 0)).toBe(7 + 11 + 13 + 17 + 29);
      // 4.
      await scene.must("stripe", "reconcile", "--from", hour, "--apply");
      // 5.
      await flush?.start();
      await scene.must("flush");
      await expect.poll(totals, { timeout: 30_000 }).toEqual([3, 52, 30]);
      // 6.
      await scene.must("verify");
      await expect
        .poll(async () => (await scene.metering("stripe", "reconcile", "--from", hour)).exitCode, { timeout: 60_000 })
        .toBe(0);
      expect(await totals()).toEqual([3, 52, 30]);
    });
  });
