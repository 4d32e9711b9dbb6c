// Every RPC against every kind of credential, over gRPC and Connect, of a real service. A new RPC without a row here fails.
import { create, type DescMethod, type DescService, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { AdminService } from "../../../gen/metering/admin/v1/admin_service_pb.ts";
import { KeyService } from "../../../gen/metering/admin/v1/key_service_pb.ts";
import { OperationsService } from "../../../gen/metering/admin/v1/operations_service_pb.ts";
import { TokenService } from "../../../gen/metering/admin/v1/token_service_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { RPC_RULES } from "../../../src/rpc/scopes.ts";
import { runCommand } from "../../support/command.ts";
import { type RunningService, startService } from "../../support/service.ts";

const SERVICES: readonly DescService[] = [MeteringService, AdminService, KeyService, OperationsService, TokenService];
const METHODS = SERVICES.flatMap(({ methods }) => methods);
const IN = "UNAUTHENTICATED";
const NO = "PERMISSION_DENIED";
const OK = "let in";

const CREDENTIALS = [
  ...["none", "wrong", "expired", "revoked"],
  ...["record", "read", "admin", "listed", "elsewhere", "customer page", "operator page"],
] as const;
type Credential = (typeof CREDENTIALS)[number];

/** "listed" has all scopes for acme, "elsewhere" for globex; requests are about acme, or all customers where an RPC knows none. */
const NOBODY = { none: IN, wrong: IN, expired: IN, revoked: IN };
const aboutOne = (...scopes: ("record" | "read" | "admin")[]) => ({
  ...NOBODY,
  ...{ record: NO, read: NO, admin: NO, "customer page": NO, "operator page": NO, elsewhere: NO, listed: OK },
  ...Object.fromEntries(scopes.map((scope) => [scope, OK])),
  ...(scopes.includes("read") && { "customer page": OK, "operator page": OK }),
});
const ADMIN_OF_ALL = { ...aboutOne("admin"), listed: NO };

const TABLE: Record<string, Record<Credential, string>> = {
  RecordUsage: aboutOne("record"),
  // Its items fail alone: see customers.test.ts.
  BatchRecordUsage: { ...aboutOne("record"), elsewhere: OK },
  GetUsage: aboutOne("read"),
  CheckLimits: aboutOne("record", "read"),
  StreamUsage: aboutOne("read"),
  VoidRecord: aboutOne("admin"),
  CreateKey: aboutOne("admin"),
  GetKey: aboutOne("admin"),
  ListKeys: aboutOne("admin"),
  UpdateKey: aboutOne("admin"),
  DeleteKey: aboutOne("admin"),
  GetOverview: { ...ADMIN_OF_ALL, "operator page": OK },
  CreateToken: ADMIN_OF_ALL,
  ListTokens: ADMIN_OF_ALL,
  RevokeToken: ADMIN_OF_ALL,
  CreateDashboardToken: aboutOne("admin"),
  RevokeDashboardTokens: aboutOne("admin"),
};

/** As little as names the customer: what is let in may well be refused for another reason. */
function bodyOf(method: DescMethod): Record<string, unknown> {
  if (method === MeteringService.method.recordUsage) return { record: { customerId: "acme" } };
  if (method === KeyService.method.createKey || method === KeyService.method.updateKey)
    return { key: { customerId: "acme" } };
  if (method === TokenService.method.createDashboardToken) return { subject: { case: "customerId", value: "acme" } };
  // Not acme: its page's token is wanted afterwards.
  if (method === TokenService.method.revokeDashboardTokens) return { subject: { case: "customerId", value: "other" } };
  return method.input.field["customerId"] === undefined ? {} : { customerId: "acme" };
}

let running: RunningService;
const tokens = new Map<Credential, string>();

async function metering(...args: string[]): Promise<Record<string, string>> {
  const { stdout, stderr, exitCode } = await runCommand([...args, "--json"], running.service.environment);
  if (exitCode !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

async function makeToken(scopes: string, ...more: string[]): Promise<Record<string, string>> {
  return metering("tokens", "create", "a test's", "--scopes", scopes, ...more);
}

/** What a call comes to: let in, or turned away by this code. */
function callGrpc(
  method: DescMethod,
  token: string | undefined,
  body: Record<string, unknown> = bodyOf(method),
): Promise<string> {
  const client = new Client(running.service.api.grpcTarget, credentials.createInsecure());
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  const bytes = Buffer.from(toBinary(method.input, create(method.input, body)));
  const path = `/${method.parent.typeName}/${method.name}`;
  const pass = (buffer: Buffer) => buffer;
  return new Promise<string>((resolve) => {
    const end = (code: number | undefined) => resolve(code === 16 || code === 7 ? (status[code] ?? "") : OK);
    if (method.methodKind === "unary") {
      client.makeUnaryRequest(path, pass, pass, bytes, metadata, (error) => end(error?.code));
    } else {
      const stream = client.makeServerStreamRequest(path, pass, pass, bytes, metadata);
      stream.on("error", (error) => end((error as { code?: number }).code));
      stream.on("data", () => {
        end(undefined);
        stream.cancel();
      });
    }
  }).finally(() => client.close());
}

beforeAll(async () => {
  running = await startService({
    intake: "postgres",
    processes: ["api"],
    environment: { METERING_AUTH: "tokens" },
  });
  const all = "--all-customers";
  const soon = await makeToken("record,read,admin", all, "--expires-in", "1s");
  const revoked = await makeToken("record,read,admin", all);
  await metering("tokens", "revoke", revoked["tokenId"] ?? "");
  tokens.set("expired", soon["secret"] ?? "").set("revoked", revoked["secret"] ?? "");
  for (const scope of ["record", "read", "admin"] as const)
    tokens.set(scope, (await makeToken(scope, all))["secret"] ?? "");
  tokens.set("listed", (await makeToken("record,read,admin", "--customers", "acme,other"))["secret"] ?? "");
  tokens.set("elsewhere", (await makeToken("record,read,admin", "--customers", "globex"))["secret"] ?? "");
  tokens.set("customer page", (await metering("tokens", "dashboard", "--customer", "acme"))["token"] ?? "");
  tokens.set("operator page", (await metering("tokens", "dashboard", all))["token"] ?? "");
  const last = tokens.get("elsewhere") ?? "";
  tokens.set("wrong", `${last.slice(0, -1)}${last.endsWith("0") ? "1" : "0"}`);
  // The last one made is known, and the first one over: the process has followed.
  const { getUsage } = MeteringService.method;
  await vi.waitFor(
    async () => {
      expect(await callGrpc(getUsage, last, { customerId: "globex" })).toBe(OK);
      expect(await callGrpc(getUsage, tokens.get("expired"))).toBe(IN);
    },
    { timeout: 30_000, interval: 100 },
  );
}, 180_000);

afterAll(() => running.close());

test("every RPC has a row, and its rule is about it", () => {
  const names = METHODS.map(({ name }) => name).sort();
  expect(Object.keys(TABLE).sort()).toEqual(names);
  expect(Object.keys(RPC_RULES).sort()).toEqual(names);
  for (const { name, method } of Object.entries(RPC_RULES).map(([name, rule]) => ({ name, method: rule.method })))
    expect(method.name).toBe(name);
});

describe.each(METHODS.map((method) => [method.name, method] as const))("%s", (name, method) => {
  test.each(CREDENTIALS)("%s, over gRPC", { timeout: 30_000 }, async (credential) => {
    const token = credential === "none" ? undefined : tokens.get(credential);
    expect(await callGrpc(method, token)).toBe(TABLE[name]?.[credential]);
  });

  test.each(CREDENTIALS)("%s, over Connect", { timeout: 30_000 }, async (credential) => {
    if (method.methodKind !== "unary") return;
    const token = credential === "none" ? undefined : tokens.get(credential);
    const one = bodyOf(method) as { subject?: { value: string } };
    const response = await fetch(`${running.service.api.httpUrl}/${method.parent.typeName}/${name}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(token && { authorization: `bearer ${token}` }) },
      body: JSON.stringify(one.subject === undefined ? one : { customerId: one.subject.value }),
    });
    const { code = "" } = (await response.json()) as { code?: string };
    const turnedAway = code === "unauthenticated" || code === "permission_denied";
    expect(turnedAway ? code.toUpperCase() : OK).toBe(TABLE[name]?.[credential]);
  });
});
