import { afterEach, expect, test, vi } from "vitest";
import { type ComponentCheck, type OpsServer, startOpsServer } from "../../../src/process/ops-server.ts";

let server: OpsServer | undefined;
afterEach(async () => server?.close());

async function start(checks: readonly ComponentCheck[]): Promise<string> {
  const metrics = { contentType: "text/plain; version=0.0.4", metrics: async () => "up 1\n" };
  server = await startOpsServer({ host: "127.0.0.1", port: 0, checks, metrics });
  return `http://127.0.0.1:${server.port}`;
}

const well: ComponentCheck = { name: "postgres", required: true, check: async () => ({ ok: true, message: "" }) };
const fails = (required: boolean): ComponentCheck => ({
  name: "redis",
  required,
  check: () => Promise.reject(new Error("connection refused")),
});

test("/readyz is 200 when every component is well, and names each", async () => {
  const url = await start([well]);
  const response = await fetch(`${url}/readyz?verbose`);
  expect(response.status).toBe(200);
  const components = { postgres: { ok: true, message: "", required: true } };
  expect(await response.json()).toEqual({ ready: true, components });
});

test("/readyz is 503 when a required component fails, with why; one that is not required is only shown", async () => {
  const url = await start([well, fails(true)]);
  const response = await fetch(`${url}/readyz`);
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({
    ready: false,
    components: { redis: { ok: false, message: "connection refused" } },
  });
  await server?.close();
  expect((await fetch(`${await start([well, fails(false)])}/readyz`)).status).toBe(200);
});

test("a check that hangs is a failure, and all who ask meanwhile share one check", async () => {
  const check = vi.fn(() => new Promise<never>(() => {}));
  const url = await start([{ name: "redis", required: true, check }]);
  const asked = await Promise.all([fetch(`${url}/readyz`), fetch(`${url}/readyz`), fetch(`${url}/readyz`)]);
  for (const response of asked) {
    expect(response.status).toBe(503);
    expect(await response.text()).toContain("no answer within 2 s");
  }
  expect(check).toHaveBeenCalledOnce();
});

test("after setNotReady /readyz is 503 with the reason while /livez and /metrics go on", async () => {
  const url = await start([well]);
  server?.setNotReady("stopping");
  const response = await fetch(`${url}/readyz`);
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ ready: false, reason: "stopping" });
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  const metrics = await fetch(`${url}/metrics`);
  expect(metrics.headers.get("content-type")).toBe("text/plain; version=0.0.4");
  expect(await metrics.text()).toBe("up 1\n");
});

test.each([
  ["GET", "/", 404],
  ["GET", "/readyz/", 404],
  ["POST", "/readyz", 405],
  ["DELETE", "/metrics", 405],
  ["HEAD", "/livez", 200],
])("%s %s is %i", async (method, path, status) => {
  const response = await fetch((await start([well])) + path, { method });
  expect(response.status).toBe(status);
  if (status === 405) expect(response.headers.get("allow")).toBe("GET, HEAD");
});

test("a port that is taken rejects", async () => {
  const url = await start([well]);
  const port = Number(new URL(url).port);
  const metrics = { contentType: "text/plain", metrics: async () => "" };
  await expect(startOpsServer({ host: "127.0.0.1", port, checks: [], metrics })).rejects.toThrow("EADDRINUSE");
});
