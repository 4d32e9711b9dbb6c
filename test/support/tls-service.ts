// A service whose four ports speak TLS, with its certificates in files that a test may replace; and how to look at each port.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import { vi } from "vitest";
import { type Identity, issue, makeAuthority } from "./certificates.ts";
import { type CommandEnvironment, CommandProcess } from "./command.ts";
import { createTestDatabase } from "./postgres.ts";
import { SimulatorProcess, WEBHOOK_SECRET } from "./service.ts";

export const PORTS = ["grpc", "http", "webhook", "ops"] as const;
export type Port = (typeof PORTS)[number];

export interface TlsService {
  readonly authority: Identity;
  readonly ports: Readonly<Record<Port, number>>;
  /** For commands that work on this deployment. */
  readonly environment: CommandEnvironment;
  /** Where a file of this name is, of those that write() and the service have. */
  path(name: string): string;
  /** Puts a file in the place of what was there, at once. */
  write(name: string, text: string): void;
  log(): string;
  close(): Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Starts every role with TLS on every port, and waits until it listens. `environment` may use file names of `path`. */
export async function startTlsService(environment: (path: TlsService["path"]) => CommandEnvironment) {
  const dir = mkdtempSync(join(tmpdir(), "metering-test-tls-"));
  const path = (name: string) => join(dir, name);
  const write = (name: string, text: string) => {
    writeFileSync(path(`${name}.new`), text);
    renameSync(path(`${name}.new`), path(name));
  };
  const authority = await makeAuthority("the test's authority");
  const server = await issue(authority, "first");
  write("ca.pem", authority.cert);
  write("server.pem", server.cert);
  write("server.key", server.key);
  const database = await createTestDatabase();
  const simulator = new SimulatorProcess(path("simulator.jsonl"));
  await simulator.start();
  const settings: CommandEnvironment = {
    DATABASE_URL: database.url,
    METERING_INTAKE: "postgres",
    STRIPE_SECRET_KEY: "sk_test_service",
    STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
    STRIPE_API_BASE: simulator.url,
    METERING_FLUSH_INTERVAL: "1s",
    METERING_DATA_DIR: path("data"),
    METERING_TLS_CERT: path("server.pem"),
    METERING_TLS_KEY: path("server.key"),
    ...environment(path),
  };
  const anyPorts = { GRPC_PORT: "0", HTTP_PORT: "0", WEBHOOK_PORT: "0", OPS_PORT: "0" };
  const child = new CommandProcess(["serve"], { ...settings, ...anyPorts });
  const close = async () => {
    await child.signal("SIGKILL");
    await simulator.kill();
    await database.close();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const [line] = await child.waitForOutput(/^.*"msg":"serving".*$/m);
    const { grpcPort = 0, httpPort = 0, webhookPort = 0, opsPort = 0 } = JSON.parse(line);
    const ports = { grpc: grpcPort, http: httpPort, webhook: webhookPort, ops: opsPort };
    const service: TlsService = {
      authority,
      ports,
      environment: settings,
      path,
      write,
      log: () => child.output,
      close,
    };
    return service;
  } catch (cause) {
    await close();
    throw cause;
  }
}

/** What a port shows to whoever connects, and trusts `ca` alone; rejects where either side refuses the other. */
export function handshake(port: number, ca: string, client?: Identity): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca, ...client, ALPNProtocols: ["h2", "http/1.1"] }, () => {
      const certificate = socket.getPeerCertificate();
      // By TLS 1.3 a client is done before it hears that it was refused: only an answer tells. HTTP/2 begins with the server's word.
      socket.once("data", () => {
        resolve(certificate);
        socket.destroy();
      });
      if (socket.alpnProtocol !== "h2") socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the port hung up")));
  });
}

/** GET, or POST where there is a body. Rejects where the connection cannot be had. */
export function ask(port: number, path: string, ca: string, client?: Identity, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const agent = new Agent({ ca, ...client });
    const method = body === undefined ? "GET" : "POST";
    const headers = { "content-type": "application/json" };
    const asked = request({ host: "127.0.0.1", port, path, method, headers, agent }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asked.once("error", reject).end(body);
  });
}

/** What a port says to `bytes` that are no TLS, until it hangs up. */
export function speakPlainly(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let heard = "";
    const socket = connectPlain({ host: "127.0.0.1", port }, () => socket.write(bytes));
    socket.on("data", (part) => {
      heard += part.toString("latin1");
    });
    socket.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" ? resolve(heard) : reject(error),
    );
    socket.once("close", () => resolve(heard));
  });
}

/** Waits, as long as a busy machine may take. */
export function eventually<T>(check: () => Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 60_000, interval: 200 });
}
