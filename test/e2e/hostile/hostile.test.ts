// Hostile input at every port, for a budget of time; meanwhile a backend and Stripe are served as ever.
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import Stripe from "stripe";
import { expect, test } from "vitest";
import { MeteringClient } from "../../../src/rpc/client.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { pickSeed } from "../../support/seed.ts";
import { type ServiceProcess, startService, WEBHOOK_SECRET } from "../../support/service.ts";
import { attack } from "./attacks.ts";
import { Chance } from "./chance.ts";
import { open } from "./wire.ts";

const BUDGET_MS = Number(process.env["FUZZ_SECONDS"] ?? 30) * 1_000;
const ATTACKERS = 24;
const IDLE = 1_000;
const CALL_MS = 20_000;
const MEMORY_MAX_BYTES = 700 * 1024 * 1024;
const portOf = (url: string) => Number(new URL(url).port);

/** Connections that say nothing, or half a request, and stay. */
async function idlers(ports: readonly number[], chance: Chance): Promise<Socket[]> {
  const beginnings = [
    "",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf",
    "PO",
  ];
  const sockets: Socket[] = [];
  for (let n = 0; n < IDLE; n += 1) {
    const socket = await open(ports[n % ports.length] ?? 0);
    const beginning = chance.of(beginnings);
    if (beginning !== "") socket?.write(beginning, () => {});
    if (socket !== undefined) sockets.push(socket);
  }
  return sockets;
}

/** Connections among them. Not known everywhere: 0 then, before and after. */
function openFiles(service: ServiceProcess): Promise<number> {
  return service.metric("process_open_fds");
}

/** A genuine delivery; the answer's status. */
async function deliver(service: ServiceProcess, n: number): Promise<number> {
  const payload = JSON.stringify({
    id: `evt_genuine_${n}`,
    object: "event",
    api_version: Stripe.API_VERSION,
    created: Math.floor(Date.now() / 1_000),
    type: "customer.updated",
    data: { object: { id: "cus_1", object: "customer" } },
  });
  const header = Stripe.webhooks.generateTestHeaderString({ payload, secret: WEBHOOK_SECRET });
  const answer = await fetch(`${service.webhookUrl}/webhooks/stripe`, {
    method: "POST",
    headers: { "content-type": "application/json", "stripe-signature": header },
    body: payload,
    signal: AbortSignal.timeout(CALL_MS),
  });
  return answer.status;
}

test("random and mutated bytes, frames, messages, bodies and webhooks, and a thousand that only wait: it stays up, in bounds, and serves others", {
  timeout: BUDGET_MS + 180_000,
}, async ({ onTestFinished }) => {
  const seed = pickSeed();
  process.stdout.write(`hostile input: SEED=${seed} FUZZ_SECONDS=${BUDGET_MS / 1_000}\n`);
  const database = await createTestDatabase();
  onTestFinished(() => database.close());
  const { service, close } = await startService({ intake: "postgres", databaseUrl: database.url });
  onTestFinished(close);
  const { api } = service;
  const target = {
    grpcPort: Number(api.grpcTarget.split(":")[1]),
    httpPort: portOf(api.httpUrl),
    webhookPort: portOf(api.webhookUrl),
  };
  const openBefore = await openFiles(api);
  const until = performance.now() + BUDGET_MS;
  let attacks = 0;
  const attackers = Array.from({ length: ATTACKERS }, async (_, i) => {
    const chance = new Chance(seed + i);
    for (; performance.now() < until; attacks += 1) await attack(target, chance);
  });
  const idle = await idlers([target.grpcPort, target.httpPort], new Chance(seed));
  const client = new MeteringClient(api.grpcTarget, testClock());
  onTestFinished(() => client.close());
  let served = 0;
  let largestBytes = 0;
  for (; performance.now() < until; served += 1) {
    const measurements = [{ meter: "input_tokens", quantity: 1n }];
    await client.recordUsage({ customerId: "witness", idempotencyKey: `w${served}`, measurements }, CALL_MS);
    expect(await deliver(api, served), `SEED=${seed}`).toBe(200);
    largestBytes = Math.max(largestBytes, await api.metric("process_resident_memory_bytes"));
    await delay(100);
  }
  await Promise.all(attackers);
  const context = `SEED=${seed}, ${attacks} attacks, ${served} served, at most ${Math.round(largestBytes / 2 ** 20)} MiB`;
  process.stdout.write(`${context}\n`);
  for (const socket of idle) socket.destroy();
  // Nothing is kept of who has left.
  await expect.poll(() => openFiles(api), { timeout: 60_000, message: context }).toBeLessThan(openBefore + 20);
  expect(attacks, context).toBeGreaterThan(BUDGET_MS / 1_000);
  expect(largestBytes, context).toBeLessThan(MEMORY_MAX_BYTES);
  expect(await api.isReady(), context).toBe(true);
  // Errors are bugs of ours: whatever a caller sends is at most a warning. Only that the tests' Postgres runs without fsync is one too.
  const errors = service.complaints.split("\n").filter((line) => /^\{"level":[56]0/.test(line));
  expect(
    errors.filter((line) => !line.includes("NOT DURABLE")),
    context,
  ).toEqual([]);
  expect(await api.metric("metering_rpc_seconds_count", 'code="OK"'), context).toBeGreaterThanOrEqual(served);
  expect(await api.metric("metering_rpc_seconds_count", 'code="INTERNAL"'), context).toBe(0);
  expect(await api.metric("metering_webhook_deliveries_total", '"failed"'), context).toBe(0);
  const rows = async (sql: string) => (await database.pool.query<{ n: number }>(sql)).rows[0]?.n;
  expect(await rows("SELECT count(*)::integer AS n FROM usage_record WHERE customer_id = 'witness'"), context).toBe(
    served,
  );
  expect(
    await rows("SELECT count(*)::integer AS n FROM stripe_event WHERE event_id LIKE 'evt_genuine%'"),
    context,
  ).toBe(served);
  expect(await rows("SELECT count(*)::integer AS n FROM stripe_event"), context).toBe(served);
});
