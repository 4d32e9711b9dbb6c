// The comparison can fail: one token too many at either end is found, named, and ends the replay with 1.
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { openStripe } from "../../../src/stripe/client.ts";
import { runCommand } from "../../support/command.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { startReplay } from "../../support/replay.ts";
import { startService } from "../../support/service.ts";
import { madeUpTrace } from "../../support/trace.ts";

test("a token too many at Stripe", async ({ onTestFinished }) => {
  const proxy = await startTamperingProxy();
  onTestFinished(proxy.close);
  const { service, close } = await startService({ intake: "postgres", stripeApiBase: proxy.urlFor });
  onTestFinished(close);
  const trace = madeUpTrace(200);
  const { exitCode, stdout, stderr } = await startReplay(service, trace, ["--customers", "5"]).result();
  const { ledger, stripe, equal } = JSON.parse(stdout);
  expect(ledger.input_tokens).toBe(trace.inputTokens);
  expect(stripe.input_tokens + stripe.output_tokens).toBe(trace.inputTokens + trace.outputTokens + 1);
  expect(equal).toBe(false);
  expect(stderr).toMatch(/Stripe has \d+ (in|out)put_tokens of cus_\w+, not \d+/);
  expect(exitCode).toBe(1);
});

test("a token too many in the ledger", async ({ onTestFinished }) => {
  const database = await createTestDatabase();
  onTestFinished(database.close);
  const { service, close } = await startService({ intake: "postgres", databaseUrl: database.url });
  onTestFinished(close);
  await database.pool.query(`
    CREATE FUNCTION one_more() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.quantity := NEW.quantity + 1; RETURN NEW; END $$;
    CREATE TRIGGER one_more BEFORE INSERT ON rollup_quarter_hour FOR EACH ROW EXECUTE FUNCTION one_more();
  `);
  const trace = madeUpTrace(50);
  const { exitCode, stdout, stderr } = await startReplay(service, trace, ["--customers", "5"]).result();
  const { ledger, stripe, equal } = JSON.parse(stdout);
  expect(ledger.input_tokens).toBeGreaterThan(trace.inputTokens);
  expect(stripe).toEqual({ input_tokens: trace.inputTokens, output_tokens: trace.outputTokens });
  expect(equal).toBe(false);
  expect(stderr).toMatch(/the ledger has \d+ input_tokens of cus_\w+, not \d+/);
  expect(exitCode).toBe(1);
});

test("a report that Stripe refuses: the replay waits, gives up, and says what is missing", async ({
  onTestFinished,
}) => {
  const { service, close } = await startService({ intake: "postgres" });
  onTestFinished(close);
  await deactivateMeter(service.simulator.url, "output_tokens");
  const trace = madeUpTrace(50);
  const args = ["--customers", "5", "--wait", "3s"];
  const { exitCode, stdout, stderr } = await startReplay(service, trace, args).result();
  expect(JSON.parse(stdout)).toMatchObject({
    stripe: { input_tokens: trace.inputTokens, output_tokens: 0 },
    equal: false,
  });
  expect(stderr).toContain("the way to Stripe stood still for 3 s, with 5 of 5 customers to go");
  expect(stderr).toContain('Stripe has no active meter for "output_tokens"');
  expect(exitCode).toBe(1);
  const status = await runCommand(["status", "--json"], service.environment);
  expect(status.exitCode, status.stderr).toBe(0);
});

/** Forwards everything to the simulator, but adds 1 to the value of the first meter event. */
async function startTamperingProxy() {
  let target = "";
  let tampered = false;
  const server = createServer(async (incoming, answer) => {
    const form = new URLSearchParams(await text(incoming));
    const value = form.get("payload[value]");
    if (value !== null && !tampered) {
      tampered = true;
      form.set("payload[value]", String(BigInt(value) + 1n));
    }
    const { "content-length": _, ...headers } = incoming.headers;
    const outgoing = request(target + incoming.url, { method: incoming.method, headers }, (reply) => {
      answer.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(answer);
    });
    outgoing.on("error", () => answer.destroy());
    outgoing.end(form.toString());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    urlFor(simulatorUrl: string) {
      target = simulatorUrl;
      return `http://127.0.0.1:${port}`;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function deactivateMeter(simulatorUrl: string, eventName: string): Promise<void> {
  const stripe = openStripe({
    secretKey: "sk_test_x",
    apiBase: new URL(simulatorUrl),
    maxSockets: 1,
    timeoutMs: 5_000,
  });
  const { data } = await stripe.billing.meters.list({ limit: 100 });
  await stripe.billing.meters.deactivate(data.find((meter) => meter.event_name === eventName)?.id ?? "");
}
