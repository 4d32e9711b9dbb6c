// A real trace through the whole service, by each intake: every sum comes out, once and twice sent.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeWithRedis } from "../../support/redis.ts";
import { expectAllEqual, startReplay } from "../../support/replay.ts";
import { type RunningService, startService } from "../../support/service.ts";
import { fullTrace } from "../../support/trace.ts";

describeWithRedis("over Redis", () => replaysThrough("redis"));
describe("over Postgres", () => replaysThrough("postgres"));

function replaysThrough(intake: "redis" | "postgres"): void {
  let running: RunningService;
  beforeAll(async () => {
    running = await startService({ intake });
  });
  afterAll(() => running?.close());

  test.each([1, 2])("sent %i time(s)", { timeout: 180_000 }, async (repeat) => {
    const { service } = running;
    const trace = fullTrace();
    const result = await startReplay(service, trace, ["--repeat", String(repeat)]).result();
    expectAllEqual(result, trace, repeat, service);
  });

  test("in batches, at a rate, over other customers", async () => {
    const { service } = running;
    const trace = fullTrace();
    const started = performance.now();
    const args = ["--batch", "100", "--rate", "4000", "--customers", "7", "--seed", "2"];
    expectAllEqual(await startReplay(service, trace, args).result(), trace, 1, service);
    expect(performance.now() - started).toBeGreaterThan((trace.records / 4000) * 1000);
  });
}
