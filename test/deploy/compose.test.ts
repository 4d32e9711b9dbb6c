// The compose file: it fits the Compose specification, sets the stores up durably, and gives the service settings that it knows.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, type TestContext, test } from "vitest";
import { parse } from "yaml";
import { closeRedis } from "../../src/redis/client.ts";
import { probeDurability } from "../../src/redis/durability.ts";
import { ROOT, requireTool, runTool, type Tool } from "../clients/tools.ts";
import { runCommand } from "../support/command.ts";
import { describeWithRedis, startRedis } from "../support/redis.ts";
import { testRedis } from "../support/redis-client.ts";
import { findComposeSpec } from "./tools.ts";

interface ComposeService {
  readonly image: string;
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly env_file?: readonly string[];
  readonly ports?: readonly string[];
  readonly read_only?: boolean;
  readonly healthcheck?: object;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly volumes?: readonly string[];
}

const text = readFileSync(join(ROOT, "deploy/compose.yaml"), "utf8");
const file = parse(text, { merge: true }) as { services: Readonly<Record<string, ComposeService>> };
const envFile = Object.fromEntries(
  readFileSync(join(ROOT, "deploy/metering.env.example"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
);

function service(name: string): ComposeService {
  const found = file.services[name];
  if (found === undefined) throw new Error(`there is no service ${name}`);
  return found;
}

let python: Tool;
beforeAll(async () => {
  python = await findComposeSpec();
}, 300_000);

const READ = "import compose_spec, sys; compose_spec.PyCompose.from_json(sys.stdin.read()).validate()";

/** What the reader of the specification has to say; empty where nothing. Fragments that begin with x- are merged by now. */
async function complaints(context: TestContext, compose: object): Promise<string> {
  const whole = Object.entries(compose).filter(([key]) => !key.startsWith("x-"));
  const input = JSON.stringify(Object.fromEntries(whole));
  const { exitCode, stderr } = await runTool(requireTool(python, context), ["-c", READ], { input });
  return exitCode === 0 ? "" : stderr;
}

test("it fits the Compose specification", async (context) => {
  expect(await complaints(context, file)).toBe("");
  // Controls: the reader does look.
  const changed = (change: object) => ({
    ...file,
    services: { ...file.services, redis: { ...service("redis"), ...change } },
  });
  expect(await complaints(context, changed({ readonly: true }))).toMatch(/`readonly`/);
  expect(await complaints(context, changed({ networks: ["nowhere"] }))).toMatch(/`nowhere`/);
});

test("the service's environment is one that the program takes", async () => {
  for (const name of ["metering", "migrate"]) {
    expect(service(name).env_file).toEqual(["metering.env"]);
    // The password of the server is in the file too: no setting of the service's, and not refused.
    const environment = { ...envFile, ...service(name).environment };
    const { exitCode, stderr } = await runCommand(["check-config"], environment);
    expect({ name, exitCode, stderr }).toEqual({ name, exitCode: 0, stderr: "" });
  }
  expect(envFile["DATABASE_URL"]).toContain(`:${envFile["POSTGRES_PASSWORD"]}@postgres:5432/`);
  expect([service("metering").command, service("migrate").command]).toEqual([["serve"], ["migrate"]]);
});

test("it starts after its stores and the migration, hardened, and on loopback alone", () => {
  expect(service("metering").depends_on).toEqual({
    migrate: { condition: "service_completed_successfully" },
    postgres: { condition: "service_healthy" },
    redis: { condition: "service_healthy" },
  });
  for (const name of ["metering", "migrate", "redis"]) expect(service(name).read_only, name).toBe(true);
  for (const name of ["postgres", "redis"]) {
    expect(service(name).healthcheck, name).toBeDefined();
    expect(service(name).volumes, name).toHaveLength(1);
    expect(service(name).ports, name).toBeUndefined();
  }
  for (const port of service("metering").ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:(\d+):\1$/);
});

describeWithRedis("Redis as it is started there", () => {
  test("keeps what it acknowledged", async ({ onTestFinished }) => {
    const args = service("redis").command.slice(1);
    // The test's own server would be durable without them.
    for (const pair of ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"])
      expect(args.join(" ")).toContain(pair);
    const server = await startRedis(args);
    onTestFinished(() => server.close());
    const client = await testRedis(server.url);
    onTestFinished(() => closeRedis(client));
    expect(await probeDurability(client)).toEqual({ durable: true, reason: "" });
    expect(await client.config("GET", "maxmemory")).toEqual(["maxmemory", String(2 * 1024 ** 3)]);
  });
});
