// Attempts to come in without a credential, or with one that was tampered with; and what the logs hold after all that.
import { createHmac } from "node:crypto";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { SignJWT } from "jose";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { runCommand } from "../../support/command.ts";
import { type RunningService, startService } from "../../support/service.ts";

let running: RunningService;
let token: Record<string, string>;
let page: string;

async function metering(...args: string[]): Promise<Record<string, string>> {
  const { stdout, stderr, exitCode } = await runCommand([...args, "--json"], running.service.environment);
  if (exitCode !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

async function read(authorization: string | undefined, customerId = "acme"): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${running.service.api.httpUrl}/metering.v1.MeteringService/GetUsage`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(authorization !== undefined && { authorization }) },
    body: JSON.stringify({ customerId }),
  });
  return { status: answer.status, text: await answer.text() };
}

beforeAll(async () => {
  running = await startService({
    intake: "postgres",
    processes: ["api"],
    environment: {
      METERING_AUTH: "tokens",
      METERING_LOG_LEVEL: "trace",
      METERING_CORS_ORIGINS: "https://page.example",
    },
  });
  token = await metering("tokens", "create", "attacked", "--scopes", "read", "--customers", "acme");
  page = (await metering("tokens", "dashboard", "--customer", "acme"))["token"] ?? "";
  await vi.waitFor(async () => expect((await read(`Bearer ${token["secret"]}`)).status).toBe(200), {
    timeout: 30_000,
    interval: 100,
  });
}, 120_000);

afterAll(() => running.close());

test("the scheme may be in any case", async () => {
  for (const scheme of ["Bearer", "bearer", "BEARER"])
    expect((await read(`${scheme} ${token["secret"]}`)).status).toBe(200);
});

test("whatever is wrong with a credential, the answer is the same", async () => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const [head = "", body = "", signature = ""] = page.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as Record<string, unknown>;
  const sign = (key: Uint8Array) => new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(key);
  const secret = token["secret"] ?? "";
  const attempts = [
    undefined,
    "",
    "Bearer",
    `Basic ${secret}`,
    secret,
    `Bearer ${secret}x`,
    `Bearer ${secret}, Bearer ${secret}`,
    `Bearer mtr_${token["tokenId"]}_${"0".repeat(22)}`,
    `Bearer mtr_000000000000_${secret.slice(-22)}`,
    `Bearer ${"a".repeat(8_000)}`,
    // No signature, another's, another body under the old one, a key of nothing.
    `Bearer ${part({ alg: "none", typ: "JWT" })}.${body}.`,
    `Bearer ${part({ alg: "HS512", typ: "JWT" })}.${body}.${signature}`,
    `Bearer ${head}.${part({ ...claims, sub: "globex" })}.${signature}`,
    `Bearer ${head}.${part({ ...claims, exp: 9_999_999_999 })}.${signature}`,
    `Bearer ${head}.${body}.`,
    `Bearer ${await sign(createHmac("sha256", "guess").digest())}`,
  ];
  const answers = await Promise.all(attempts.map((attempt) => read(attempt)));
  for (const { status, text } of answers) {
    expect(status).toBe(401);
    expect(text.replace(/"details":.*$/, "")).toBe(answers[0]?.text.replace(/"details":.*$/, ""));
    expect(text).toContain("CREDENTIALS_MISSING_OR_INVALID");
  }
});

test("a customer that is not the caller's is refused alike, whether it exists or not", async () => {
  const mine = `Bearer ${token["secret"]}`;
  for (const authorization of [mine, `Bearer ${page}`]) {
    const answers = await Promise.all(["globex", "nobody-at-all", "", "\u0000"].map((id) => read(authorization, id)));
    for (const { status, text } of answers) {
      expect(status).toBe(403);
      expect(text).toContain("CUSTOMER_NOT_ALLOWED");
    }
  }
});

test("only named origins get CORS headers, and preflights need no credential", async () => {
  const preflight = (origin: string) =>
    fetch(`${running.service.api.httpUrl}/metering.v1.MeteringService/GetUsage`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST" },
    });
  const named = await preflight("https://page.example");
  expect(named.headers.get("access-control-allow-origin")).toBe("https://page.example");
  expect(named.headers.get("access-control-allow-headers")?.toLowerCase()).toContain("authorization");
  expect(named.headers.get("access-control-allow-credentials")).toBeNull();
  for (const other of ["https://evil.example", "https://page.example.evil", "null"])
    expect((await preflight(other)).headers.get("access-control-allow-origin")).toBeNull();
});

test("a stream ends when its token is revoked", { timeout: 60_000 }, async () => {
  const made = await metering("tokens", "create", "streams", "--scopes", "read", "--customers", "acme");
  const authorization = `Bearer ${made["secret"]}`;
  await vi.waitFor(async () => expect((await read(authorization)).status).toBe(200), { timeout: 30_000 });
  const client = new Client(running.service.api.grpcTarget, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("authorization", authorization);
  const pass = (bytes: Buffer) => bytes;
  // Field 1, "acme".
  const request = Buffer.from([0x0a, 4, ...Buffer.from("acme")]);
  const stream = client.makeServerStreamRequest(
    "/metering.v1.MeteringService/StreamUsage",
    pass,
    pass,
    request,
    metadata,
  );
  const ended = new Promise<number | undefined>((resolve) => {
    stream.on("error", (error) => resolve((error as { code?: number }).code));
    stream.on("end", () => resolve(undefined));
  });
  await new Promise((resolve) => stream.once("data", resolve));
  stream.resume();
  await metering("tokens", "revoke", made["tokenId"] ?? "");
  expect(await ended).toBe(16);
  expect((await read(authorization)).status).toBe(401);
  client.close();
});

test("no secret is in the log, in any answer of a command, or in check-config", async () => {
  const { environment, api } = running.service;
  const listed = await runCommand(["tokens", "list", "--all"], environment);
  const checked = await runCommand(["check-config"], { ...environment, METERING_TOKEN: token["secret"] ?? "" });
  const output = [api.log, listed.stdout, listed.stderr, checked.stdout, checked.stderr].join("\n");
  expect(output).toContain("attacked");
  const password = new URL(environment["DATABASE_URL"] ?? "").password;
  const secrets = [
    token["secret"],
    token["secret"]?.slice(-22),
    page,
    page.split(".")[2],
    "sk_test_service",
    "whsec_test",
  ];
  for (const secret of [...secrets, ...(password === "" ? [] : [`:${password}@`])])
    expect(output).not.toContain(secret);
});
