// SIGTERM to a process that has work in its hands.
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { ServiceError } from "@grpc/grpc-js";
import pg from "pg";
import { expect, test, vi } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import {
  callGrpc,
  fromServiceError,
  grpcClient,
  openStream,
  reasonOf,
  retryDelayOf,
} from "../../integration/rpc/test-client.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { startService } from "../../support/service.ts";

/** Of the whole end. */
const GRACE_MS = 20_000;

test("calls under way finish, health and streams say to go elsewhere, the lease is handed over, and it exits in time", {
  timeout: 120_000,
}, async ({ onTestFinished }) => {
  const database = await createTestDatabase();
  onTestFinished(() => database.close());
  const { service, close } = await startService({
    intake: "postgres",
    databaseUrl: database.url,
    processes: ["api,flush", "flush"],
    // A lease that ran out instead of being given back would be noticed.
    environment: { METERING_LEASE_TTL: "60s", METERING_LEASE_RENEW: "1s", METERING_SHUTDOWN_GRACE: `${GRACE_MS}ms` },
  });
  onTestFinished(close);
  const [first, second] = service.processes;
  if (first === undefined || second === undefined) throw new Error("two processes were asked for");
  const leaders = () => Promise.all([first, second].map((one) => one.metric("metering_flush_leader")));
  if ((await leaders())[0] === 0) {
    // The other was quicker: it is given another turn.
    await second.signal("SIGTERM");
    await vi.waitFor(async () => expect(await first.metric("metering_flush_leader")).toBe(1), 30_000);
    await second.start();
  }

  const client = grpcClient(first.grpcTarget);
  const stream = openStream(client, { customerId: "cus_1" });
  await once(stream, "data");
  stream.on("data", () => {});
  const ended = new Promise<ServiceError>((resolve) => stream.on("error", (error) => resolve(error as ServiceError)));
  const heard: number[] = [];
  const watch = client.makeServerStreamRequest(
    "/grpc.health.v1.Health/Watch",
    (b: Buffer) => b,
    (b) => b,
    Buffer.alloc(0),
  );
  watch.on("data", (bytes: Buffer) => heard.push(bytes[1] ?? 0));
  watch.on("error", () => {});
  await vi.waitFor(() => expect(heard).toEqual([1]), 10_000);

  // A call that takes long: its shard is held.
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  onTestFinished(() => holder.end());
  await holder.query("BEGIN; SELECT FROM shard FOR UPDATE");
  const record = { customerId: "cus_1", idempotencyKey: "k", measurements: [{ meter: "input_tokens", quantity: 1n }] };
  const underWay = callGrpc(client, MeteringService.method.recordUsage, { record });
  await vi.waitFor(async () => {
    const waiting = await database.pool.query(
      "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    expect(waiting.rowCount).toBe(1);
  }, 10_000);

  const startedMs = performance.now();
  const stopped = first.signal("SIGTERM");
  const told = fromServiceError(await ended);
  expect([told.code, reasonOf(told), retryDelayOf(told)]).toEqual(["UNAVAILABLE", "DRAINING", "1s"]);
  // NOT_SERVING, before its port closes.
  expect(heard).toEqual([1, 2]);
  await delay(200);
  await holder.query("ROLLBACK");
  expect(await underWay).toHaveProperty("ok");
  expect(await stopped).toBe(0);
  expect(performance.now() - startedMs).toBeLessThan(GRACE_MS);
  await vi.waitFor(async () => expect(await second.metric("metering_flush_leader")).toBe(1), 10_000);
  expect((await database.pool.query("SELECT FROM usage_record")).rowCount).toBe(1);
});
