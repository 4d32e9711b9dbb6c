// Far more than it can carry: told at once, in bounds, nothing acknowledged lost, and well again right after.
import type { Client } from "@grpc/grpc-js";
import pg from "pg";
import { expect, test } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { callGrpc, grpcClient, reasonOf, refusalOf, retryDelayOf } from "../../integration/rpc/test-client.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { startService } from "../../support/service.ts";

/** Small, so that a test machine can exceed them many times over. One shard, so that they are the whole service's. */
const MAX_WAITING = 100;
const MAX_BATCH = 10;
const CALLERS = 2_000;
const MEMORY_GROWTH_MAX_BYTES = 300 * 1024 * 1024;

async function smallService(onTestFinished: (end: () => Promise<void>) => void) {
  const database = await createTestDatabase();
  onTestFinished(() => database.close());
  const { service, close } = await startService({
    intake: "postgres",
    databaseUrl: database.url,
    processes: ["api"],
    environment: {
      METERING_SHARDS: "1",
      METERING_INTAKE_MAX_WAITING: String(MAX_WAITING),
      METERING_INTAKE_MAX_BATCH: String(MAX_BATCH),
    },
  });
  onTestFinished(close);
  // A connection carries 1,000 calls at a time; further ones would wait at the client.
  const clients = Array.from({ length: 4 }, () => grpcClient(service.api.grpcTarget));
  const stored = async () => {
    const { rows } = await database.pool.query<{ key: string }>("SELECT idempotency_key AS key FROM usage_record");
    return rows.map(({ key }) => key).sort();
  };
  return { database, service, clients, stored };
}

function record(clients: readonly Client[], n: number) {
  const client = clients[n % clients.length];
  if (client === undefined) throw new Error("no client");
  const measurements = [{ meter: "input_tokens", quantity: 1n }];
  const request = { record: { customerId: "cus_1", idempotencyKey: `k${n}`, measurements } };
  return callGrpc(client, MeteringService.method.recordUsage, request, { deadline: Date.now() + 60_000 });
}

test("while nothing can be stored: what there is no room for is refused at once, the rest is kept, and stored", {
  timeout: 120_000,
}, async ({ onTestFinished }) => {
  const { database, service, clients, stored } = await smallService(onTestFinished);
  expect(await record(clients, 0)).toHaveProperty("ok");
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  onTestFinished(() => holder.end());
  await holder.query("BEGIN; SELECT FROM shard FOR UPDATE");
  const before = await service.api.metric("process_resident_memory_bytes");
  let refused = 0;
  const calls = Array.from({ length: CALLERS }, async (_, i) => {
    const answer = await record(clients, i + 1);
    if ("refusal" in answer) refused += 1;
    return answer;
  });
  // All but what waits and what is in the one commit under way, though the store says nothing.
  await expect.poll(() => refused, { timeout: 30_000 }).toBe(CALLERS - MAX_WAITING - MAX_BATCH);
  // For reads, health and metrics there is no crowd.
  expect(await service.api.isReady()).toBe(true);
  await holder.query("ROLLBACK");
  const answers = await Promise.all(calls);
  const kept = answers.flatMap((answer, i) => ("ok" in answer ? [`k${i + 1}`] : []));
  expect(kept).toHaveLength(MAX_WAITING + MAX_BATCH);
  const told = answers.filter((answer) => "refusal" in answer).map(refusalOf);
  for (const refusal of told)
    expect([refusal.code, reasonOf(refusal), retryDelayOf(refusal)]).toEqual([
      "RESOURCE_EXHAUSTED",
      "INTAKE_FULL",
      "0.200s",
    ]);
  expect(await stored()).toEqual(["k0", ...kept].sort());
  expect((await service.api.metric("process_resident_memory_bytes")) - before).toBeLessThan(MEMORY_GROWTH_MAX_BYTES);
  expect(await record(clients, CALLERS + 1)).toHaveProperty("ok");
});

test("twenty times as many callers as it has room for, again and again: what it acknowledges it has, once, and nothing else", {
  timeout: 180_000,
}, async ({ onTestFinished }) => {
  const { service, clients, stored } = await smallService(onTestFinished);
  const before = await service.api.metric("process_resident_memory_bytes");
  const acknowledged: string[] = [];
  const refusals = new Set<string>();
  const rounds = Array.from({ length: CALLERS }, async (_, caller) => {
    for (let round = 0; round < 5; round += 1) {
      const n = round * CALLERS + caller;
      const answer = await record(clients, n);
      if ("ok" in answer) acknowledged.push(`k${n}`);
      else refusals.add(answer.refusal.code);
    }
  });
  await Promise.all(rounds);
  // Well again with the next call.
  expect(await record(clients, 5 * CALLERS)).toHaveProperty("ok");
  acknowledged.push(`k${5 * CALLERS}`);
  expect([...refusals]).toEqual(["RESOURCE_EXHAUSTED"]);
  expect(acknowledged.length).toBeGreaterThan(MAX_WAITING);
  expect(await stored()).toEqual(acknowledged.sort());
  expect((await service.api.metric("process_resident_memory_bytes")) - before).toBeLessThan(MEMORY_GROWTH_MAX_BYTES);
});
