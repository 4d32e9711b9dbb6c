// `metering replay` against a service that asks for TLS, a client's certificate and a token.
import { afterAll, beforeAll, expect, test } from "vitest";
import { issue, makeAuthority } from "../../support/certificates.ts";
import { type CommandResult, runCommand } from "../../support/command.ts";
import { eventually, startTlsService, type TlsService } from "../../support/tls-service.ts";
import { madeUpTrace } from "../../support/trace.ts";

let service: TlsService;
let secret: string;

beforeAll(async () => {
  service = await startTlsService((path) => ({
    METERING_AUTH: "tokens",
    METERING_TLS_CLIENT_CA: path("ca.pem"),
    METERING_MTLS_PORTS: "grpc",
  }));
  const client = await issue(service.authority, "a replay");
  service.write("client.pem", client.cert);
  service.write("client.key", client.key);
  service.write("other-ca.pem", (await makeAuthority("another authority")).cert);
  const made = await metering(["tokens", "create", "replay", "--scopes", "record,read", "--all-customers", "--json"]);
  secret = JSON.parse(made.stdout).secret;
}, 120_000);
afterAll(() => service.close());

function metering(args: readonly string[], environment: Record<string, string> = {}): Promise<CommandResult> {
  return runCommand(args, { ...service.environment, ...environment });
}

function replay(records: number, options: readonly string[], environment: Record<string, string>) {
  const target = `127.0.0.1:${service.ports.grpc}`;
  return metering(["replay", madeUpTrace(records).file, "--json", "--target", target, ...options], environment);
}

const files = (...names: [option: string, name: string][]) =>
  names.flatMap(([option, name]) => [option, service.path(name)]);
const ca = () => files(["--ca", "ca.pem"]);
const all = () => [...ca(), ...files(["--cert", "client.pem"], ["--key", "client.key"])];

test("with all three, every sum is equal", { timeout: 180_000 }, async () => {
  const result = await eventually(async () => {
    const tried = await replay(200, all(), { METERING_TOKEN: secret });
    // A token is known to every process within two seconds.
    expect(tried.stderr).not.toContain("a valid token is needed");
    return tried;
  });
  expect(JSON.parse(result.stdout), result.stderr).toMatchObject({ acknowledged: 200, equal: true });
  expect(result.exitCode).toBe(0);
  expect(result.stdout + result.stderr).not.toContain(secret);
});

test("by the service's own settings, without --target", { timeout: 180_000 }, async () => {
  const environment = { METERING_TOKEN: secret, GRPC_PORT: String(service.ports.grpc) };
  const result = await metering(["replay", madeUpTrace(20).file, "--json", ...all()], environment);
  expect(JSON.parse(result.stdout), result.stderr).toMatchObject({ acknowledged: 20, equal: true });
});

test("without a token: told so, and nothing is recorded", { timeout: 120_000 }, async () => {
  const { exitCode, stderr } = await replay(20, all(), {});
  expect(stderr).toContain("a valid token is needed");
  expect(exitCode).toBe(1);
});

test("in plain text, without a certificate, or trusting others: no connection, and what to do", {
  timeout: 120_000,
}, async () => {
  const plain = await replay(20, [], { METERING_TOKEN: secret });
  expect(plain).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("say --tls or --ca") });
  for (const options of [ca(), ["--tls"], all().with(1, service.path("other-ca.pem"))]) {
    const { exitCode, stderr } = await replay(20, options, { METERING_TOKEN: secret });
    expect(stderr).toMatch(/must come from an authority that is trusted here and name this host/);
    expect(exitCode).toBe(3);
  }
});

test("files that cannot be used", { timeout: 60_000 }, async () => {
  const attempts: [string[], RegExp][] = [
    [["--cert", service.path("client.pem")], /--cert and --key go together/],
    [["--ca", service.path("nothing.pem")], /--ca cannot be read/],
    [[...ca(), ...files(["--cert", "client.pem"], ["--key", "server.key"])], /--cert and --key cannot be used/],
  ];
  for (const [options, message] of attempts) {
    const { exitCode, stderr } = await replay(20, options, {});
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(exitCode).toBe(1);
  }
});

test("a token that would leave this machine in plain text: said so", { timeout: 60_000 }, async () => {
  // An address of documentation (RFC 5737): nobody is there.
  const args = ["replay", madeUpTrace(20).file, "--target", "192.0.2.1:1"];
  const { stderr } = await metering(args, { METERING_TOKEN: secret });
  expect(stderr).toContain("METERING_TOKEN goes to 192.0.2.1:1 in plain text");
});
