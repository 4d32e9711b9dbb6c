// Every route of the ports that carry no RPCs, against every kind of credential. RPCs are in table.test.ts.
import { randomUUID } from "node:crypto";
import { Client, credentials as grpcCredentials, status } from "@grpc/grpc-js";
import Stripe from "stripe";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningService, startService, WEBHOOK_SECRET } from "../../support/service.ts";
import { makeToken, metering } from "./calls.ts";

const THIN_SECRET = "whsec_thin";
const OPS_TOKEN = "scrapers-only-0123456789";
const CREDENTIALS = [
  "none",
  "wrong",
  "basic",
  "record",
  "read",
  "admin",
  "customer page",
  "operator page",
  "ops",
] as const;
type Credential = (typeof CREDENTIALS)[number];

let running: RunningService;
const headers = new Map<Credential, Record<string, string>>();

beforeAll(async () => {
  running = await startService({
    intake: "postgres",
    processes: ["api,webhooks"],
    environment: { METERING_AUTH: "tokens", METERING_OPS_TOKEN: OPS_TOKEN, STRIPE_THIN_WEBHOOK_SECRET: THIN_SECRET },
  });
  const { service } = running;
  const set = (name: Credential, authorization: string) => headers.set(name, { authorization });
  for (const scope of ["record", "read", "admin"] as const)
    set(scope, `Bearer ${(await makeToken(service, scope, "--all-customers")).secret}`);
  const page = async (...whose: string[]) =>
    `Bearer ${(await metering(service, "tokens", "dashboard", ...whose))["token"]}`;
  set("customer page", await page("--customer", "acme"));
  set("operator page", await page("--all-customers"));
  set("ops", `Bearer ${OPS_TOKEN}`);
  set("wrong", `Bearer ${OPS_TOKEN}x`);
  set("basic", `Basic ${Buffer.from(`ops:${OPS_TOKEN}`).toString("base64")}`);
  headers.set("none", {});
}, 120_000);
afterAll(() => running.close());

const of = (credential: Credential) => headers.get(credential) ?? {};
const all = (answer: number) => Object.fromEntries(CREDENTIALS.map((name) => [name, answer]));
const OPS_ALONE = { ...all(401), ops: 200 };

describe("OPS_PORT", () => {
  const TABLE: [string, string, Record<string, number>][] = [
    ["GET", "/livez", all(200)],
    ["GET", "/readyz", all(200)],
    ["GET", "/metrics", OPS_ALONE],
    ["HEAD", "/metrics", OPS_ALONE],
    ["GET", `/metrics?token=${OPS_TOKEN}`, OPS_ALONE],
    ["POST", "/metrics", all(405)],
    ["POST", "/readyz", all(405)],
    ["GET", "/", all(404)],
    ["GET", "/metrics/", all(404)],
    ["GET", "//metrics", all(404)],
    ["GET", "/livez/../metrics%2f", all(404)],
    ["GET", "/METRICS", all(404)],
    ["GET", "/debug/pprof", all(404)],
  ];

  test.each(TABLE)("%s %s", async (method, path, expected) => {
    for (const credential of CREDENTIALS) {
      const answer = await fetch(running.service.api.opsUrl + path, { method, headers: of(credential) });
      expect([credential, answer.status]).toEqual([credential, expected[credential]]);
      const text = await answer.text();
      if (answer.status !== 200) expect(text).not.toContain("metering_");
    }
  });

  test("/readyz tells why a component is not ok to whoever shows the token alone", async () => {
    const components = async (credential: Credential) => {
      const answer = await fetch(`${running.service.api.opsUrl}/readyz`, { headers: of(credential) });
      return ((await answer.json()) as { components: Record<string, object> }).components;
    };
    expect((await components("ops"))["postgres"]).toEqual({ ok: true, required: true, message: "" });
    for (const credential of CREDENTIALS.filter((name) => name !== "ops"))
      expect((await components(credential))["postgres"]).toEqual({ ok: true, required: true });
  });
});

describe("WEBHOOK_PORT", () => {
  const event = (thin: boolean) =>
    JSON.stringify({
      id: `evt_${randomUUID().replaceAll("-", "")}`,
      object: thin ? "v2.core.event" : "event",
      type: "customer.created",
      created: thin ? new Date().toISOString() : Math.floor(Date.now() / 1000),
      ...(thin ? { related_object: null } : { data: { object: { id: "cus_1", object: "customer" } } }),
    });
  const sign = (payload: string, secret: string) => Stripe.webhooks.generateTestHeaderString({ payload, secret });
  const deliver = (path: string, credential: Credential, body: string, signature?: string, method = "POST") =>
    fetch(running.service.api.webhookUrl + path, {
      method,
      headers: {
        "content-type": "application/json",
        ...of(credential),
        ...(signature !== undefined && { "stripe-signature": signature }),
      },
      ...(method === "POST" && { body }),
    }).then(({ status: code }) => code);

  test.each([
    ["/webhooks/stripe", WEBHOOK_SECRET, THIN_SECRET, false],
    ["/webhooks/stripe/thin", THIN_SECRET, WEBHOOK_SECRET, true],
  ])("%s: a good signature lets in, whatever comes with it; no token does", async (path, secret, other, thin) => {
    for (const credential of CREDENTIALS) {
      const body = event(thin);
      const token = of(credential)["authorization"]?.split(" ")[1] ?? "";
      expect(await deliver(path, credential, body, sign(body, secret))).toBe(200);
      expect(await deliver(path, credential, body)).toBe(400);
      expect(await deliver(path, credential, body, "t=1,v1=0")).toBe(400);
      expect(await deliver(path, credential, body, sign(body, other))).toBe(400);
      expect(await deliver(path, credential, event(thin), sign(body, secret))).toBe(400);
      if (token !== "") expect(await deliver(path, credential, body, sign(body, token))).toBe(400);
    }
  });

  test.each([
    ["GET", "/webhooks/stripe", 405],
    ["DELETE", "/webhooks/stripe/thin", 405],
    ["POST", "/", 404],
    ["POST", "/webhooks/stripe/", 404],
    ["POST", "/Webhooks/Stripe", 404],
    ["POST", "/webhooks/stripe%2fthin", 404],
    ["GET", "/metrics", 404],
    ["POST", "/metering.v1.MeteringService/GetUsage", 404],
  ])("%s %s: %d", async (method, path, expected) => {
    for (const credential of CREDENTIALS) {
      const body = event(false);
      expect(await deliver(path, credential, body, sign(body, WEBHOOK_SECRET), method)).toBe(expected);
    }
  });
});

describe("HTTP_PORT", () => {
  test.each([
    ["GET", "/page.json", 200],
    ["POST", "/page.json", 405],
    ["GET", "/metrics", 404],
    ["GET", "/webhooks/stripe", 404],
    ["GET", "/../package.json", 404],
    ["GET", "/assets/..%2f..%2fpackage.json", 404],
    ["GET", "/%2e%2e/%2e%2e/etc/passwd", 404],
    ["GET", "/__proto__", 404],
    ["GET", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 404],
  ])("%s %s: %d, for everybody", async (method, path, expected) => {
    for (const credential of CREDENTIALS) {
      const answer = await fetch(running.service.api.httpUrl + path, { method, headers: of(credential) });
      expect(answer.status).toBe(expected);
      // Where any page can read it, it must be the same for everybody.
      expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
    }
  });
});

describe("GRPC_PORT", () => {
  const call = (path: string) => {
    const client = new Client(running.service.api.grpcTarget, grpcCredentials.createInsecure());
    const pass = (bytes: Buffer) => bytes;
    return new Promise<string>((resolve) => {
      const stream = client.makeServerStreamRequest(path, pass, pass, Buffer.alloc(0));
      stream.on("error", (error) => resolve(status[(error as { code?: number }).code ?? 2] ?? ""));
      stream.on("data", () => resolve("OK"));
    }).finally(() => client.close());
  };

  test("health is for everybody, reflection for nobody: what there is, a stranger need not know", async () => {
    expect(await call("/grpc.health.v1.Health/Check")).toBe("OK");
    for (const version of ["v1", "v1alpha"])
      expect(await call(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`)).toBe("UNIMPLEMENTED");
  });
});
