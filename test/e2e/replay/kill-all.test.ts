// Every process of the service is killed with SIGKILL in mid-replay, three times, and once the store that takes the records with them:
// nothing is lost, nothing counted twice, in the ledger or at Stripe.
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { CommandProcess } from "../../support/command.ts";
import { PostgresServer } from "../../support/postgres-server.ts";
import { describeWithRedis, type RedisServer } from "../../support/redis.ts";
import { expectAllEqual, startReplay } from "../../support/replay.ts";
import { type Service, startService } from "../../support/service.ts";
import { fullTrace } from "../../support/trace.ts";

describeWithRedis("over Redis", () => survives("redis", ["api,drain,flush,webhooks"]));
describeWithRedis("over Redis, in four processes", () =>
  survives("redis", ["api", "api", "drain,flush", "drain,flush"]),
);
describe("over Postgres", () => survives("postgres", ["api,drain,flush,webhooks"]));

/** Records at which everything is killed. */
const KILLS = [1_500, 5_000];
const POLL_MS = 20;

function survives(intake: "redis" | "postgres", processes: readonly string[]): void {
  test("killed while it records, and again while it reports", { timeout: 240_000 }, async ({ onTestFinished }) => {
    const postgres = intake === "postgres" ? await PostgresServer.start() : undefined;
    onTestFinished(async () => postgres?.close());
    const database = postgres === undefined ? {} : { databaseUrl: postgres.url };
    const { service, close } = await startService({ intake, processes, ...database });
    onTestFinished(close);
    const store = postgres ?? service.redis;
    const trace = fullTrace();
    const replay = startReplay(service, trace, ["--concurrency", "32"]);
    let recorded = 0;
    for (const [i, threshold] of KILLS.entries()) {
      const before = recorded;
      await passes(replay, async () => before + (await recordsOf(service)) >= threshold);
      recorded = before + (await recordsOf(service));
      await killEverything(service, i === 1 ? store : undefined);
    }
    await passes(replay, async () => (await reportsSent(service)) >= 200);
    await killEverything(service, undefined);
    expect(replay.isRunning, "the kills came in mid-replay").toBe(true);
    const result = await replay.result();
    expectAllEqual(result, trace, 1, service);
    expect(result.stderr, "calls failed, and were made again").toMatch(/\d+ calls failed and were repeated/);
  });
}

async function killEverything(service: Service, store: Pick<RedisServer, "kill" | "start"> | undefined): Promise<void> {
  await service.killAll();
  await store?.kill();
  await store?.start();
  await service.startAll();
}

/** Records taken by the processes since their start. */
async function recordsOf(service: Service): Promise<number> {
  const counts = await Promise.all(service.processes.map((process) => process.metric("metering_records_total")));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function reportsSent(service: Service): Promise<number> {
  const counts = await Promise.all(service.processes.map((process) => process.metric("metering_reports_sent_total")));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Waits for `condition`; rejects when the replay ends before. */
async function passes(replay: CommandProcess, condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) {
    if (!replay.isRunning) throw new Error(`the replay ended before it could be disturbed:\n${replay.output}`);
    await delay(POLL_MS);
  }
}
