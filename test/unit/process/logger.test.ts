import { expect, test } from "vitest";
import { parseConfig } from "../../../src/process/config/parse-config.ts";
import { createLogger, secretsOf } from "../../../src/process/logger.ts";

function collect(isTTY: boolean) {
  const lines: string[] = [];
  return { lines, output: { isTTY, write: (text: string) => lines.push(text) } };
}

const CONFIG = parseConfig({
  DATABASE_URL: "postgresql://metering:p%40ss%22word@db/metering",
  REDIS_URL: "redis://:redispass@redis",
  STRIPE_SECRET_KEY: "sk_test_topsecret",
  STRIPE_WEBHOOK_SECRET: "whsec_one,whsec_two",
});

test("writes one JSON object a line, with time, level, fields and the error's stack", () => {
  const { lines, output } = collect(false);
  const logger = createLogger("info", [], output);
  logger.debug({}, "not this");
  logger.warn({ err: new Error("broken"), shard: 3 }, "drain failed");
  expect(lines).toHaveLength(1);
  const line = JSON.parse(lines[0] ?? "");
  expect(line).toMatchObject({ level: 40, shard: 3, msg: "drain failed", err: { message: "broken" } });
  expect(line.err.stack).toContain("logger.test.ts");
});

test.each([false, true])("no secret is ever written, wherever it comes from (terminal: %s)", (isTTY) => {
  const { lines, output } = collect(isTTY);
  const logger = createLogger("info", secretsOf(CONFIG), output);
  const cause = new Error(`connect ${CONFIG.databaseUrl} p@ss"word`);
  logger.error({ err: new Error(`no ${CONFIG.redisUrl}`, { cause }), key: CONFIG.stripeSecretKey }, "see whsec_two");
  const text = lines.join("");
  for (const secret of ["p%40ss", 'p@ss"word', 'p@ss\\"word', "redispass", "topsecret", "whsec_two"])
    expect(text).not.toContain(secret);
  expect(text).toContain("[secret]");
});

test("is plain to read on a terminal", () => {
  const { lines, output } = collect(true);
  createLogger("info", [], output).info({ shard: 3, epoch: "a b" }, "took the lease");
  expect(lines.join("")).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {2}took the lease shard=3 epoch=a b\n$/);
});

test("what callers sent writes no line of its own on a terminal, and steers none", () => {
  const { lines, output } = collect(true);
  const forged = "acme\n12:00:00.000 ERROR all is lost\u001b[2J\r\u202e\u2028";
  const err = new Error(forged);
  err.stack = `Error: ${forged}\n    at here`;
  createLogger("info", [], output).info({ customerId: forged, nested: { forged }, err }, forged);
  const text = lines.join("");
  expect(text).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\u2028]/u);
  expect(text.split("\n").filter((line) => line !== "" && !line.startsWith("    "))).toHaveLength(1);
  expect(text).toContain(String.raw`acme\u{a}12:00:00.000 ERROR all is lost\u{1b}[2J`);
});

test("a secret that is a number elsewhere leaves the line readable on a terminal", () => {
  const { lines, output } = collect(true);
  createLogger("info", ["30", "8080"], output).info({ port: 8080 }, "serving");
  expect(lines.join("")).toMatch(/serving port=\[secret\]\n$/);
});

test("passwords are known wherever a URL holds them, however they are written", () => {
  const url = "postgresql://u:half%zz@db/metering?sslmode=require&password=in%20query&sslpassword=key";
  const secrets = secretsOf(parseConfig({ DATABASE_URL: url, STRIPE_WEBHOOK_SECRET: "whsec_one" }));
  expect(secrets).toEqual(expect.arrayContaining(["half%zz", "in%20query", "in query", "key"]));
});
