// Connections that end when nobody expects it.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { inTransaction, openPool } from "../../../src/postgres/pool.ts";
import { createTestDatabase } from "../../support/postgres.ts";

function message(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
}

const LET_IN = Buffer.concat([message("R", Buffer.alloc(4)), message("Z", Buffer.from("I"))]);
const TERMINATED = message(
  "E",
  Buffer.from("SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"),
);

/** Speaks just enough of PostgreSQL's protocol to let a client in, and ends its session in the same packet. */
async function serverThatEndsSessions(): Promise<string> {
  const server = createServer((socket: Socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(Buffer.concat([LET_IN, TERMINATED])));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `postgresql://u:p@127.0.0.1:${(server.address() as AddressInfo).port}/metering`;
}

function poolOn(connectionString: string) {
  const pool = openPool({
    connectionString,
    applicationName: "test",
    maxConnections: 2,
    statementTimeoutMs: 5_000,
    onIdleError: () => {},
  });
  onTestFinished(() => pool.end());
  return pool;
}

test("a session that is ended in the packet that let it in fails its transaction, and no more", async () => {
  const pool = poolOn(await serverThatEndsSessions());
  await expect(inTransaction(pool, (client) => client.query("SELECT 1"))).rejects.toThrow();
  await expect(pool.query("SELECT 1")).rejects.toThrow();
});

test("a session that is ended between two statements fails its transaction, and the next one has another", async () => {
  const database = await createTestDatabase();
  onTestFinished(() => database.close());
  const pool = poolOn(database.url);
  const failed = inTransaction(pool, async (client) => {
    const ended = once(client as unknown as NodeJS.EventEmitter, "end");
    const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    await database.pool.query("SELECT pg_terminate_backend($1)", [rows[0]?.pid]);
    await ended;
    await client.query("SELECT 1");
  });
  await expect(failed).rejects.toThrow();
  expect((await inTransaction(pool, (client) => client.query("SELECT 1 AS one"))).rows).toEqual([{ one: 1 }]);
});
