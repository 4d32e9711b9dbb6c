// A trace through a service that is spread over processes: two serve callers, two drain and flush.
import { expect, test } from "vitest";
import { describeWithRedis } from "../../support/redis.ts";
import { expectAllEqual, startReplay } from "../../support/replay.ts";
import { startService } from "../../support/service.ts";
import { fullTrace } from "../../support/trace.ts";

describeWithRedis("two API processes, two workers", () => {
  test("every sum comes out, with every record sent twice to either", { timeout: 180_000 }, async ({
    onTestFinished,
  }) => {
    const processes = ["api", "api,webhooks", "drain,flush", "drain,flush"];
    const { service, close } = await startService({ intake: "redis", processes });
    onTestFinished(close);
    const trace = fullTrace();
    const result = await startReplay(service, trace, ["--repeat", "2"]).result();
    expectAllEqual(result, trace, 2, service);
    for (const [i, roles] of processes.entries()) {
      const process = service.processes[i];
      const [works, name] = roles.includes("api")
        ? ["takes records", "metering_records_total"]
        : ["drains records", "metering_drained_records_total"];
      expect(await process?.metric(name), `process ${i} ${works}`).toBeGreaterThan(0);
    }
  });
});
