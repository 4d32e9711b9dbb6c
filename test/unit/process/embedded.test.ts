// The servers of our own: real ones, started, killed and found again.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startEmbeddedPostgres } from "../../../src/process/embedded/embedded-postgres.ts";
import { findRedisProgram, startEmbeddedRedis } from "../../../src/process/embedded/embedded-redis.ts";
import { processIdentity } from "../../../src/process/process-identity.ts";

let dir = "";
const cleanUps: (() => Promise<unknown> | unknown)[] = [];

beforeEach(() => {
  // Made for this user alone, as any temporary directory: a server that must not be root has to get through it.
  dir = mkdtempSync(join(tmpdir(), "metering-embedded-"));
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  rmSync(dir, { recursive: true, force: true });
});

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** A process that starts a server, says which, and stays. */
async function startInChild(module: string, call: string): Promise<{ child: ChildProcess; pid: number }> {
  const url = new URL(`../../../src/process/embedded/${module}.ts`, import.meta.url).href;
  const code = `import * as m from ${JSON.stringify(url)}; const s = await ${call}; console.log(s.pid); setInterval(() => {}, 1e9);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  cleanUps.push(() => child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout })) return { child, pid: Number(line) };
  throw new Error("the child ended before its server was up");
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

describe("the embedded PostgreSQL", () => {
  test("keeps its data over a stop, lets nobody in without the password, and leaves no process behind", async () => {
    const dataDir = join(dir, "postgres");
    const first = await startEmbeddedPostgres({ dataDir });
    cleanUps.push(() => first.stop());
    await query(first.url("metering"), "CREATE TABLE t AS SELECT 42 AS x");
    const wrong = new URL(first.url("metering"));
    wrong.password = "wrong";
    await expect(query(wrong.href, "SELECT 1")).rejects.toThrow("password authentication failed");
    expect(statSync(join(dataDir, "password")).mode & 0o777).toBe(0o600);
    await Promise.all([first.stop(), first.stop()]);
    expect(await processIdentity(first.pid)).toBeUndefined();

    const second = await startEmbeddedPostgres({ dataDir, port: first.port, settings: { max_connections: "17" } });
    cleanUps.push(() => second.stop());
    expect(second.url("metering")).toBe(first.url("metering"));
    expect(await query(second.url("metering"), "SELECT x FROM t")).toEqual([{ x: 42 }]);
    expect(await query(second.url("postgres"), "SHOW max_connections")).toEqual([{ max_connections: "17" }]);
    expect(await query(second.url("postgres"), "SHOW server_version_num")).toEqual([
      { server_version_num: expect.stringMatching(/^18/) },
    ]);
  });

  test("a server that a killed process left running is ended, not doubled", async () => {
    const dataDir = join(dir, "postgres");
    const { child, pid } = await startInChild(
      "embedded-postgres",
      `m.startEmbeddedPostgres({dataDir: ${JSON.stringify(dataDir)}})`,
    );
    await kill(child);
    expect(await processIdentity(pid)).toBeDefined();
    const server = await startEmbeddedPostgres({ dataDir });
    cleanUps.push(() => server.stop());
    expect(await processIdentity(pid)).toBeUndefined();
    expect(await query(server.url("metering"), "SELECT 1 AS x")).toEqual([{ x: 1 }]);
  });

  test("starts again after the server itself was killed, its pid file left behind", async () => {
    const dataDir = join(dir, "postgres");
    const first = await startEmbeddedPostgres({ dataDir });
    await query(first.url("metering"), "CREATE TABLE t AS SELECT 42 AS x");
    process.kill(first.pid, "SIGKILL");
    await first.exited;
    expect(readFileSync(join(dataDir, "data", "postmaster.pid"), "utf8")).toContain(String(first.pid));
    const second = await startEmbeddedPostgres({ dataDir });
    cleanUps.push(() => second.stop());
    expect(await query(second.url("metering"), "SELECT x FROM t")).toEqual([{ x: 42 }]);
  });

  test("a pid that now stands for somebody else is left alone", async () => {
    const dataDir = join(dir, "postgres");
    const first = await startEmbeddedPostgres({ dataDir });
    await first.stop();
    const stranger = spawn("sleep", ["60"]);
    cleanUps.push(() => stranger.kill());
    writeFileSync(join(dataDir, "server.json"), JSON.stringify({ pid: stranger.pid, identity: "another boot:1" }));
    const second = await startEmbeddedPostgres({ dataDir });
    cleanUps.push(() => second.stop());
    expect(await processIdentity(stranger.pid ?? 0)).toBeDefined();
  });

  test("says why it did not start, in the server's words", async () => {
    const dataDir = join(dir, "postgres");
    const starting = startEmbeddedPostgres({ dataDir, settings: { no_such_setting: "1" } });
    await expect(starting).rejects.toThrow(/unrecognized configuration parameter "no_such_setting"/);
  });
});

describe("the embedded Redis", async () => {
  const program = await findRedisProgram();
  // The machines of CI have one; elsewhere the service runs without, and so does this suite.
  const withRedis = test.skipIf(program === undefined && process.env["CI"] !== "true");

  async function start(dataDir: string) {
    const server = await startEmbeddedRedis({ program: program ?? "redis-server", dataDir });
    cleanUps.push(() => server.stop());
    return server;
  }

  async function command(server: { port: number; url: string }, ...lines: string[]): Promise<string> {
    const socket = connect(server.port, "127.0.0.1");
    socket.end(`AUTH ${new URL(server.url).password}\r\n${lines.map((line) => `${line}\r\n`).join("")}QUIT\r\n`);
    let answer = "";
    for await (const chunk of socket) answer += String(chunk);
    return answer;
  }

  withRedis("has every answered write on disk, evicts nothing, and asks for its password", async () => {
    const server = await start(join(dir, "redis"));
    const settings = await command(server, "CONFIG GET append*", "CONFIG GET maxmemory-policy");
    for (const setting of ["appendonly\r\n$3\r\nyes", "appendfsync\r\n$6\r\nalways", "noeviction"])
      expect(settings).toContain(setting);
    expect(await command({ ...server, url: "redis://:wrong@127.0.0.1" }, "PING")).toContain("NOAUTH");
  });

  withRedis("keeps what it answered when it and its parent are killed", async () => {
    const dataDir = join(dir, "redis");
    const call = `m.startEmbeddedRedis({program: ${JSON.stringify(program)}, dataDir: ${JSON.stringify(dataDir)}})`;
    const { child, pid } = await startInChild("embedded-redis", call);
    await kill(child);
    const second = await start(dataDir);
    expect(await processIdentity(pid)).toBeUndefined();
    expect(await command(second, "SET k v")).toContain("+OK");
    process.kill(second.pid, "SIGKILL");
    await second.exited;
    const third = await start(dataDir);
    expect(await command(third, "GET k")).toContain("$1\r\nv");
  });
});
