import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claimDevDirectory, publishDevService, serviceEnvironment } from "../../../src/process/dev-directory.ts";
import { processIdentity } from "../../../src/process/process-identity.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "metering-dev-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test("only one process at a time runs on a directory", async () => {
  const release = await claimDevDirectory(dir);
  await expect(claimDevDirectory(dir)).rejects.toThrow(`another "metering dev" (pid ${process.pid}) runs on`);
  release();
  (await claimDevDirectory(dir))();
});

test("a claim whose process was killed is taken over", async () => {
  const child = spawn("sleep", ["60"]);
  const identity = await processIdentity(child.pid ?? 0);
  writeFileSync(join(dir, "dev.lock"), JSON.stringify({ pid: child.pid, identity }));
  await expect(claimDevDirectory(dir)).rejects.toThrow("another");
  child.kill("SIGKILL");
  await once(child, "exit");
  (await claimDevDirectory(dir))();
});

test("other commands find the running service; what is set wins; secrets stay with this user", async () => {
  const published = {
    DATABASE_URL: "postgresql://u:p@db/m",
    GRPC_PORT: "5",
    OPS_PORT: "6",
    METERING_LOG_LEVEL: "debug",
  };
  const withdraw = await publishDevService(dir, published);
  expect(statSync(join(dir, "dev.json")).mode & 0o777).toBe(0o600);
  const found = await serviceEnvironment({ METERING_DATA_DIR: dir, GRPC_PORT: "7", OPS_PORT: "" });
  expect(found).toEqual({
    METERING_DATA_DIR: dir,
    DATABASE_URL: published.DATABASE_URL,
    GRPC_PORT: "7",
    OPS_PORT: "6",
  });
  withdraw();
  await expect(serviceEnvironment({ METERING_DATA_DIR: dir })).rejects.toThrow("DATABASE_URL is not set, and no");
  await expect(serviceEnvironment({ METERING_DATA_DIR: dir }, "stripeSecretKey")).rejects.toThrow(
    "STRIPE_SECRET_KEY is not set, and no",
  );
});

test("what a killed service left behind is not taken for a running one", async () => {
  const left = { pid: process.pid, identity: "another boot:1", environment: { DATABASE_URL: "postgresql://db/m" } };
  writeFileSync(join(dir, "dev.json"), JSON.stringify(left));
  await expect(serviceEnvironment({ METERING_DATA_DIR: dir })).rejects.toThrow('no "metering dev" is up');
  writeFileSync(join(dir, "dev.json"), '{"pid":');
  await expect(serviceEnvironment({ METERING_DATA_DIR: dir })).rejects.toThrow('no "metering dev" is up');
});

test("with DATABASE_URL set no directory is looked at", async () => {
  const environment = { DATABASE_URL: "postgresql://db/m", METERING_DATA_DIR: "/nonexistent" };
  expect(await serviceEnvironment(environment)).toBe(environment);
});
