// `metering dev` as a newcomer runs it: nothing but Node, one command.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { findRedisProgram } from "../../../src/process/embedded/embedded-redis.ts";
import { processIdentity } from "../../../src/process/process-identity.ts";
import { CommandProcess, runCommand } from "../../support/command.ts";

const ANY_PORTS = { GRPC_PORT: "0", HTTP_PORT: "0", WEBHOOK_PORT: "0", OPS_PORT: "0", STRIPE_SIMULATOR_PORT: "0" };

let dir = "";
let running: CommandProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "metering-dev-"));
  running = [];
});
afterEach(async () => {
  for (const dev of running) await dev.signal("SIGTERM");
  rmSync(dir, { recursive: true, force: true });
});

interface Summary {
  readonly addresses: { readonly httpPort: number; readonly opsPort: number };
  readonly intake: string;
  readonly simulatorUrl: string;
}

async function dev(environment: Record<string, string> = {}): Promise<{ process: CommandProcess; summary: Summary }> {
  const started = new CommandProcess(["dev", "--json"], { ...ANY_PORTS, METERING_DATA_DIR: dir, ...environment });
  running.push(started);
  const [line] = await started.waitForOutput(/^\{.*\}\n/);
  return { process: started, summary: JSON.parse(line) as Summary };
}

/** A PATH with the little that is needed to leave root, and no Redis. */
function pathWithoutRedis(): string {
  const bin = join(dir, "bin");
  mkdirSync(bin);
  for (const program of ["id", "setpriv"]) {
    try {
      symlinkSync(execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim(), join(bin, program));
    } catch {
      // Not on this machine; then it is not needed either.
    }
  }
  return bin;
}

async function call({ addresses }: Summary, rpc: string, request: object): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${addresses.httpPort}/${rpc}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  return response.json();
}

async function record(summary: Summary): Promise<string> {
  const answer = await call(summary, "metering.v1.MeteringService/RecordUsage", {
    record: { idempotencyKey: "k", customerId: "acme", measurements: [{ meter: "input_tokens", quantity: "5" }] },
  });
  return (answer as { outcome: string }).outcome;
}

function voidRecord(summary: Summary): Promise<unknown> {
  const request = { customerId: "acme", idempotencyKey: "k", reason: "over HTTP" };
  return call(summary, "metering.admin.v1.AdminService/VoidRecord", request);
}

function pidsOfStores(): number[] {
  return ["postgres", "redis"].flatMap((store) => {
    try {
      return [Number(JSON.parse(readFileSync(join(dir, store, "server.json"), "utf8")).pid)];
    } catch {
      return [];
    }
  });
}

test("comes up ready without any store, says SIMULATED, and leaves nothing running", async () => {
  const started = new CommandProcess(["dev"], { ...ANY_PORTS, METERING_DATA_DIR: dir, PATH: pathWithoutRedis() });
  running.push(started);
  await started.waitForOutput(/"customerId":"cus_\w+"\}'\n/);
  const [, readyz = ""] = await started.waitForOutput(/(http:\S+\/readyz)/);
  const response = await fetch(readyz);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ ready: true, components: { postgres: { ok: true } } });
  expect(started.output).toContain("Postgres (no redis-server or valkey-server on the PATH)");
  expect(started.output).toMatch(/Stripe +SIMULATED at http/);
  const pids = pidsOfStores();
  expect(pids).toHaveLength(1);
  await started.signal("SIGTERM");
  expect((await started.result()).exitCode).toBe(0);
  for (const pid of pids) expect(await processIdentity(pid)).toBeUndefined();
  await expect(fetch(readyz)).rejects.toThrow();
});

test("keeps what it acknowledged when it is killed, and picks up its stores again", async () => {
  const first = await dev();
  expect(await record(first.summary)).toBe("RECORD_OUTCOME_RECORDED");
  const refused = await runCommand(["dev"], { ...ANY_PORTS, METERING_DATA_DIR: dir });
  expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('another "metering dev"') });
  const orphans = pidsOfStores();
  await first.process.signal("SIGKILL");
  const second = await dev();
  expect(await record(second.summary)).toBe("RECORD_OUTCOME_DUPLICATE");
  for (const pid of orphans) expect(await processIdentity(pid)).toBeUndefined();
  const migrated = await runCommand(["migrate", "--json"], { METERING_DATA_DIR: dir });
  expect(migrated).toMatchObject({ exitCode: 0, stdout: '{"applied":[]}\n' });
  // A buffer may hold the record yet.
  const voided = await vi.waitFor(async () => {
    const answer = await voidRecord(second.summary);
    expect(answer).not.toMatchObject({ code: "not_found" });
    return answer;
  }, 55_000);
  expect(voided).toMatchObject({ outcome: "VOID_OUTCOME_VOIDED", reason: "over HTTP" });
  const again = await runCommand(["void", "acme", "k", "--reason", "again", "--json"], { METERING_DATA_DIR: dir });
  expect(again).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/"already_voided".*"over HTTP"/) });
  expect(await record(second.summary)).toBe("RECORD_OUTCOME_DUPLICATE");
});

test("stays with Redis once records may wait there", async (context) => {
  context.skip((await findRedisProgram()) === undefined && process.env["CI"] === undefined);
  const first = await dev();
  expect(first.summary.intake).toContain("from the PATH");
  await first.process.signal("SIGTERM");
  const without = await runCommand(["dev"], { ...ANY_PORTS, METERING_DATA_DIR: dir, PATH: pathWithoutRedis() });
  expect(without.exitCode).toBe(1);
  expect(without.stderr).toContain("records may still wait in the Redis data of");
  expect(pidsOfStores()).toEqual([]);
});
