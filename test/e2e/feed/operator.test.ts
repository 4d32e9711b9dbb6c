// What an operator's page asks for, of a deployment of several processes: the overview, and the stream of all customers.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { OperationsService } from "../../../gen/metering/admin/v1/operations_service_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { runCommand } from "../../support/command.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";

const PATIENTLY = { timeout: 60_000, interval: 200 };

describeWithRedis("with Redis intake", () => {
  test("what one replica takes, the other's stream of all customers and its overview tell", {
    timeout: 120_000,
  }, async ({ onTestFinished }) => {
    const processes = ["api,drain", "api,drain,flush,webhooks"];
    const environment = { METERING_ADMIN_API: "true" };
    const { service, close } = await startService({ intake: "redis", processes, environment });
    onTestFinished(close);
    const [taker, teller] = service.processes;
    const transportTo = (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "1.1" });
    const metering = createClient(MeteringService, transportTo(taker?.httpUrl ?? ""));
    const there = transportTo(teller?.httpUrl ?? "");
    const stopped = new AbortController();
    onTestFinished(() => stopped.abort());
    const seen = new Map<string, bigint>();
    const watching = (async () => {
      const stream = createClient(MeteringService, there).streamUsage(
        { meters: ["input_tokens"] },
        { signal: stopped.signal },
      );
      for await (const { event } of stream) {
        if (event.case === "snapshot") seen.clear();
        if (event.case === "snapshot" || event.case === "update")
          for (const { customerId, quantity } of event.value.totals) seen.set(customerId, quantity);
      }
    })().catch((cause: unknown) => {
      if (!stopped.signal.aborted) throw cause;
    });
    const record = (customerId: string, idempotencyKey: string, quantity: bigint) =>
      metering.recordUsage({
        record: { customerId, idempotencyKey, measurements: [{ meter: "input_tokens", quantity }] },
      });
    await record("acme", "1", 10n);
    await record("globex", "1", 70n);
    await record("acme", "2", 5n);
    await vi.waitFor(
      () =>
        expect([...seen]).toEqual([
          ["globex", 70n],
          ["acme", 15n],
        ]),
      PATIENTLY,
    );

    const operations = createClient(OperationsService, there);
    await vi.waitFor(async () => {
      const { leader, drainWorkers, pending, watermarkTime } = await operations.getOverview({});
      expect({ leads: leader !== undefined, workers: drainWorkers.length, pending }).toMatchObject({
        leads: true,
        workers: 2,
        pending: { unmappedCustomers: 2n, unmappedExamples: ["acme", "globex"] },
      });
      expect(watermarkTime).toBeDefined();
    }, PATIENTLY);
    // The minute in which they were counted has to be over first.
    await vi.waitFor(
      async () => {
        const { throughput, stripeSimulated } = await operations.getOverview({});
        expect(stripeSimulated).toBe(true);
        const sum = (of: "records" | "tokens") => throughput.reduce((total, minute) => total + minute[of], 0n);
        expect([sum("records"), sum("tokens")]).toEqual([3n, 85n]);
      },
      { timeout: 90_000, interval: 1_000 },
    );
    const status = JSON.parse((await runCommand(["status", "--json"], service.environment)).stdout);
    expect(status).toMatchObject({ pending: { unmappedCustomers: 2 }, reports: { held: 0, acceptedLastDay: 0 } });
    stopped.abort();
    await watching;
  });
});
