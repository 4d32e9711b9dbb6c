// A record is voided in a deployment of several processes over Redis, and Stripe ends with what is left.
import { expect, test, vi } from "vitest";
import { MeteringClient } from "../../../src/rpc/client.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import { testClock } from "../../support/clock.ts";
import { runCommand } from "../../support/command.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";

const CALL_MS = 10_000;
const METER = "input_tokens";
const QUARTER_HOUR_S = 900;
/** In a minute that is over, so that the flush takes it without being asked. */
const EVENT_S = Math.floor(Date.now() / 60_000) * 60 - 300;
const FROM_S = Math.floor(EVENT_S / QUARTER_HOUR_S) * QUARTER_HOUR_S;
const instant = (seconds: number) => ({ seconds: BigInt(seconds), nanos: 0 });
const INTERVAL = { startTime: instant(FROM_S), endTime: instant(FROM_S + QUARTER_HOUR_S) };

describeWithRedis("with Redis intake", () => {
  test("a record voided after it was billed: totals and Stripe's come down, and its key cannot bring it back", {
    timeout: 120_000,
  }, async ({ onTestFinished }) => {
    const processes = ["api,drain", "drain,flush,webhooks"];
    const { service, close } = await startService({ intake: "redis", processes });
    onTestFinished(close);
    const apiBase = new URL(service.simulator.url);
    const stripe = openStripe({ secretKey: "sk_test_service", apiBase, maxSockets: 2, timeoutMs: CALL_MS });
    const [meter] = await ensureMeters(stripe, [METER]);
    const { id: customerId } = await stripe.customers.create();
    const client = new MeteringClient(service.api.grpcTarget, testClock());
    onTestFinished(() => client.close());
    const send = (idempotencyKey: string, quantity: bigint) => {
      const measurements = [{ meter: METER, quantity }];
      return client.recordUsage({ customerId, idempotencyKey, eventTime: instant(EVENT_S), measurements }, CALL_MS);
    };
    const usage = () => client.getUsage({ customerId, over: { case: "interval", value: INTERVAL } }, CALL_MS);
    const billed = async (quantity: number) => {
      await vi.waitFor(
        async () => {
          const { billing } = await usage();
          expect([billing?.reported[METER], billing?.unreported[METER]]).toEqual([BigInt(quantity), 0n]);
        },
        { timeout: 60_000, interval: 200 },
      );
      const span = { customer: customerId, start_time: EVENT_S, end_time: EVENT_S + 60 };
      const { data } = await stripe.billing.meters.listEventSummaries(meter?.meterId ?? "", span);
      expect(data.map((summary) => summary.aggregated_value)).toEqual([quantity]);
    };

    await send("right", 5n);
    await send("wrong", 7n);
    await billed(12);
    const voided = await runCommand(["void", customerId, "wrong", "--reason", "a test", "--json"], service.environment);
    expect(voided).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('"outcome":"voided"') });
    expect(await usage()).toMatchObject({ tokensUsed: 5n, requests: 1n });
    await billed(5);
    expect(await send("wrong", 7n)).toMatchObject({ isDuplicate: true });
    expect(await usage()).toMatchObject({ tokensUsed: 5n, requests: 1n });
    // Nobody asked for the admin API: it is not there.
    const admin = `${service.api.httpUrl}/metering.admin.v1.AdminService/VoidRecord`;
    const headers = { "content-type": "application/json" };
    expect((await fetch(admin, { method: "POST", headers, body: "{}" })).status).toBe(404);
  });
});
