// What `metering replay` says to arguments, traces and settings that it cannot work with. No service runs.
import { expect, test } from "vitest";
import { runCommand } from "../../support/command.ts";
import { madeUpTrace, writeTrace } from "../../support/trace.ts";

const SETTINGS = { STRIPE_SECRET_KEY: "sk_test_x", METERING_DATA_DIR: "/nonexistent" };

test("a trace with a bad row", async () => {
  const file = writeTrace("TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,4808,-10");
  const { exitCode, stdout, stderr } = await runCommand(["replay", file, "--json"], SETTINGS);
  expect(stderr).toContain(`${file}, line 2: must be`);
  expect(stdout).toBe("");
  expect(exitCode).toBe(2);
});

test("a trace that is not there", async () => {
  const { exitCode, stderr } = await runCommand(["replay", "/nonexistent.csv"], SETTINGS);
  expect(stderr).toContain("/nonexistent.csv cannot be read");
  expect(exitCode).toBe(2);
});

test.each([
  [["--customers", "0"], "--customers"],
  [["--target", "localhost"], "--target"],
  [["--wait", "10"], "--wait"],
])("the arguments %j", async (args, named) => {
  const { exitCode, stderr } = await runCommand(["replay", madeUpTrace(1).file, ...args], SETTINGS);
  expect(stderr).toContain(named);
  expect(exitCode).toBe(2);
});

test.each(["sk_live_x", "rk_live_x"])("a live key: %s", async (key) => {
  const settings = { ...SETTINGS, STRIPE_SECRET_KEY: key };
  const { exitCode, stderr } = await runCommand(["replay", madeUpTrace(1).file], settings);
  expect(stderr).toContain("is a live key");
  expect(stderr).not.toContain(key);
  expect(exitCode).toBe(2);
});

test("no service to be found", async () => {
  const { exitCode, stderr } = await runCommand(["replay", madeUpTrace(1).file], { METERING_DATA_DIR: "/nonexistent" });
  expect(stderr).toContain('no "metering dev" is up on /nonexistent');
  expect(exitCode).toBe(2);
});

test("a service that is not there", { timeout: 30_000 }, async () => {
  const args = ["replay", madeUpTrace(1).file, "--target", "127.0.0.1:1", "--json"];
  const { exitCode, stdout, stderr } = await runCommand(args, SETTINGS);
  expect(stderr).toContain("the service at 127.0.0.1:1 cannot be reached");
  expect(stdout).toBe("");
  expect(exitCode).toBe(3);
});
