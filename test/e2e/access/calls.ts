// Calls as a stranger would make them: any bytes, any headers, over gRPC and over Connect.
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { vi } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { runCommand } from "../../support/command.ts";
import type { Service } from "../../support/service.ts";

export const SERVICE = "metering.v1.MeteringService";

/** What an access token may be called by. */
export interface MadeToken {
  readonly tokenId: string;
  readonly secret: string;
}

/** Runs `metering <args> --json` on the deployment. Rejects with what it says where it fails. */
export async function metering<T = Record<string, string>>(service: Service, ...args: string[]): Promise<T> {
  const { stdout, stderr, exitCode } = await runCommand([...args, "--json"], service.environment);
  if (exitCode !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** Makes an access token, and waits until the service knows it. */
export async function makeToken(service: Service, scopes: string, ...more: string[]): Promise<MadeToken> {
  const made = await metering<MadeToken & { customers: string[] }>(
    service,
    ...["tokens", "create", "a test's", "--scopes", scopes],
    ...more,
  );
  await eventually(async () => {
    const { body } = await post(service, "GetUsage", { customerId: "acme" }, bearer(made.secret));
    if (body["code"] === "unauthenticated") throw new Error("the token is not known yet");
  });
  return made;
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Connect, JSON. */
export async function post(service: Service, rpc: string, request: object, headers: Record<string, string> = {}) {
  const response = await fetch(`${service.api.httpUrl}/${rpc.includes("/") ? rpc : `${SERVICE}/${rpc}`}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(request),
  });
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, body };
}

/** A client over Connect that shows this token. Its calls reject with ConnectError. */
export function connectClient(service: Service, token: string) {
  const show: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: service.api.httpUrl,
    httpVersion: "1.1",
    interceptors: [show],
  });
  return createClient(MeteringService, transport);
}

/** gRPC: the name of the code that it ends with, "OK" with the first answer of a stream. */
export function callGrpc(
  service: Service,
  rpc: string,
  bytes: Buffer,
  authorizations: readonly string[],
): Promise<string> {
  const client = new Client(service.api.grpcTarget, credentials.createInsecure());
  const metadata = new Metadata();
  for (const value of authorizations) metadata.add("authorization", value);
  const pass = (buffer: Buffer) => buffer;
  // A unary call is a stream of one to the client.
  const stream = client.makeServerStreamRequest(`/${SERVICE}/${rpc}`, pass, pass, bytes, metadata);
  return new Promise<string>((resolve) => {
    stream.on("error", (error) => resolve(status[(error as { code?: number }).code ?? 2] ?? ""));
    stream.on("data", () => {
      resolve("OK");
      stream.cancel();
    });
  }).finally(() => client.close());
}

/** Waits, as long as a busy machine may take. */
export function eventually<T>(check: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(check, { timeout: 60_000, interval: 200 });
}
