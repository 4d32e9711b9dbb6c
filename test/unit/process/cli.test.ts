// The command line as a user has it: a process, its output, its exit code.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const BIN = fileURLToPath(new URL("../../../bin/metering.mjs", import.meta.url));
const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function metering(args: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  const env = {
    PATH: process.env["PATH"],
    HOME: process.env["HOME"],
    METERING_DATA_DIR: `${tmpdir()}/none`,
    ...environment,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], { cwd: ROOT, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

describe("help", () => {
  const commands = ["dev", "serve", "migrate", "check-config", "status", "flush", "void", "replay", "stripe-simulator"];
  const parents: Readonly<Record<string, readonly string[]>> = {
    reports: ["list", "show", "retry", "hold"],
    customers: ["list", "map"],
    stripe: ["setup", "reconcile", "events"],
    "stripe events": ["list", "retry"],
  };
  const nested = Object.entries(parents).flatMap(([parent, names]) => names.map((name) => `${parent} ${name}`));

  test.each([["", [...commands, "reports", "customers", "stripe"]], ...Object.entries(parents)])(
    "metering %s --help lists the commands",
    async (parent, listed) => {
      const { code, stdout } = await metering([...parent.split(" "), "--help"].filter((word) => word !== ""));
      expect(code).toBe(0);
      for (const command of listed) expect(stdout).toContain(`\n  ${command} `);
    },
  );

  test.each([...commands, ...nested.filter((name) => !(name in parents))])(
    "metering %s --help says what it does, needs and answers with, and gives an example",
    async (name) => {
      const { code, stdout, stderr } = await metering([...name.split(" "), "--help"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain(`Usage: metering ${name} `);
      // A service prints nothing but log lines, and those are JSON.
      const parts = ["Settings:", "Exit codes:", "Example:", ...(name === "serve" ? [] : ["--json"])];
      for (const part of parts) expect(stdout).toContain(part);
    },
  );
});

describe("a command line that is wrong", () => {
  test.each([
    ["an unknown command", ["lunch"], "metering: unknown command 'lunch'\n"],
    ["a mistyped option", ["migrate", "--jsn"], "metering: unknown option '--jsn' (Did you mean --json?)\n"],
    ["one argument too many", ["migrate", "now"], /^metering: too many arguments.*\n$/],
    ["a state that there is not", ["reports", "list", "--state", "helt"], /^metering: .*no such state: helt\n$/],
    ["a URL that is none", ["stripe-simulator", "--webhook-url", "localhost:8081"], /^metering: .*must be http:.*\n$/],
  ])("%s is told in one line, exit code 2", async (_, args, line) => {
    const { code, stdout, stderr } = await metering(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    if (typeof line === "string") expect(stderr).toBe(line);
    else expect(stderr).toMatch(line);
  });

  test("no command at all shows the help, exit code 2", async () => {
    const { code, stderr } = await metering([]);
    expect(code).toBe(2);
    expect(stderr).toContain("Usage: metering <command>");
  });
});

test.each([
  ["that cannot be opened", "no-such-directory/data.jsonl", "cannot be opened"],
  ["that is no data file", "package.json", "cannot be replayed"],
])("stripe-simulator tells of a file %s in one line, exit code 1", async (_, file, why) => {
  const { code, stdout, stderr } = await metering(["stripe-simulator", "--data", file], { STRIPE_SIMULATOR_PORT: "0" });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(new RegExp(`^metering: the data file ${file} ${why}.*\\n$`));
});

test("stripe setup without a key says that neither a key nor a running service is there", async () => {
  const { code, stderr } = await metering(["stripe", "setup", "--dry-run"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/^metering: STRIPE_SECRET_KEY is not set, and no "metering dev" is up on .*\n$/);
});

describe("check-config", () => {
  test("names every problem, one a line, of settings and catalog; exit code 2", async () => {
    const { code, stdout, stderr } = await metering(["check-config"], {
      GRPC_PORT: "x",
      METERING_HOST: "0.0.0.0",
      METERING_CONFIG: "package.json",
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    const lines = stderr.trimEnd().split("\n");
    for (const line of lines) expect(line).toMatch(/^metering: /);
    for (const part of ["GRPC_PORT", "METERING_HOST", "package.json: meters"])
      expect(lines.filter((line) => line.includes(part))).toHaveLength(1);
  });

  test("shows what is billed as what, and what setup would make", async () => {
    const environment = { METERING_CONFIG: "examples/token-billing.config.json" };
    const { stdout } = await metering(["check-config"], environment);
    expect(stdout).toMatch(/^METERING_RETENTION +40d$/m);
    expect(stdout).toMatch(/^METERING_LEASE_RENEW +1500ms$/m);
    expect(stdout).toContain("input_tokens of * -> token-billing-tokens model={stripe_model} token_type=input\n");
    const { catalog } = JSON.parse((await metering(["check-config", "--json"], environment)).stdout);
    expect(catalog.billing[0].payload).toEqual({ model: "{stripe_model}", token_type: "input" });
    expect(catalog.stripe.prices).toEqual([]);
  });

  test("--json is one object, without secrets", async () => {
    const environment = { STRIPE_SECRET_KEY: "sk_test_hunter2", DATABASE_URL: "postgresql://u:hunter2@db/m" };
    const { code, stdout } = await metering(["check-config", "--json"], environment);
    expect(code).toBe(0);
    expect(stdout).not.toContain("hunter2");
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      problems: [],
      settings: { STRIPE_SECRET_KEY: "(set)", GRPC_PORT: 50_051, METERING_FLUSH_INTERVAL: 60_000 },
    });
    const wrong = await metering(["check-config", "--json"], { GRPC_PORT: "x" });
    expect(wrong.code).toBe(2);
    expect(JSON.parse(wrong.stdout)).toMatchObject({ ok: false, problems: [expect.stringContaining("GRPC_PORT")] });
  });
});

test("the pinned Node runs the command, whatever Node started it, without a warning", async () => {
  const { stderr } = await metering(["check-config"]);
  expect(stderr).toBe("");
});

test("a store that is away is told in one line, exit code 1", async () => {
  const { code, stderr } = await metering(["migrate"], { DATABASE_URL: "postgresql://u:hunter2@127.0.0.1:1/m" });
  expect(code).toBe(1);
  expect(stderr).toMatch(/^metering: .*cannot be reached.*127\.0\.0\.1:1\n$/);
});

test("ports that are taken are named with their settings, exit code 1, before anything is started", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const address = taken.address();
  const port = String(typeof address === "object" ? address?.port : 0);
  try {
    const free = { GRPC_PORT: "0", HTTP_PORT: "0", WEBHOOK_PORT: "0", OPS_PORT: "0", STRIPE_SIMULATOR_PORT: "0" };
    const dev = await metering(["dev"], { ...free, OPS_PORT: port });
    expect(dev.code).toBe(1);
    expect(dev.stderr).toContain(`metering: port ${port} of 127.0.0.1 is taken: set OPS_PORT to another\n`);
    const simulator = await metering(["stripe-simulator"], { ...free, STRIPE_SIMULATOR_PORT: port });
    expect(simulator.stderr).toContain(`port ${port} of 127.0.0.1 is taken: set STRIPE_SIMULATOR_PORT`);
  } finally {
    taken.close();
  }
});
