// The page over plain HTTP: what is sent with it, and that it needs nothing that its policy forbids.
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PAGE_FOLDER, pageHandler } from "../../../src/process/page.ts";
import { testCatalog } from "../../support/catalog.ts";

let server: Server;
let base: string;
let html: string;
/** What the page is made of: "/assets/index-....js" and others. */
let files: readonly string[];

beforeAll(async () => {
  server = createServer(pageHandler(PAGE_FOLDER, { stripeSimulated: true, catalog: testCatalog() }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  html = await (await fetch(base)).text();
  files = [...html.matchAll(/(?:src|href)="\.(\/[^"]+)"/g)].map(([, path = ""]) => path);
});
afterAll(() => server.close());

test("every answer carries the whole policy, errors too", async () => {
  expect(files.map((path) => path.replace(/^.*\./, "")).sort()).toEqual(["css", "js", "svg"]);
  const answers = [
    ...(await Promise.all(["/", "/page.json", "/nothing", "/assets/", ...files].map((path) => fetch(base + path)))),
    await fetch(base, { method: "POST" }),
    await fetch(base, { method: "HEAD" }),
  ];
  for (const { url, headers } of answers) {
    const directives = (headers.get("content-security-policy") ?? "").split("; ");
    expect(directives.sort(), url).toEqual([
      "base-uri 'none'",
      "connect-src 'self'",
      "default-src 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "img-src 'self'",
      "script-src 'self'",
      "style-src 'self'",
    ]);
    expect(headers.get("x-content-type-options"), url).toBe("nosniff");
    expect(headers.get("referrer-policy"), url).toBe("no-referrer");
    expect(headers.get("cross-origin-opener-policy"), url).toBe("same-origin");
    expect(headers.get("cross-origin-resource-policy"), url).toBe("same-origin");
    expect(headers.get("access-control-allow-origin"), url).toBeNull();
    expect(headers.get("set-cookie"), url).toBeNull();
  }
});

test("nothing is inline, and nothing is of another origin", async () => {
  expect(html).not.toMatch(/<style|\sstyle=|\son\w+=|javascript:|https?:|\ssrc="\/\/|href="\/\//i);
  for (const [, attributes = "", body] of html.matchAll(/<script([^>]*)>(.*?)<\/script>/gs)) {
    expect(attributes).toContain('src="./');
    expect(body).toBe("");
  }
  const css = await (await fetch(base + files.find((path) => path.endsWith(".css")))).text();
  expect(css).not.toMatch(/url\(|@import/);
});

test("types are told, what has a hash in its name is kept for good, the rest is asked for anew", async () => {
  const told = async (path: string) => {
    const { headers } = await fetch(base + path);
    return [headers.get("content-type"), headers.get("cache-control")];
  };
  expect(await told("/")).toEqual(["text/html; charset=utf-8", "no-cache"]);
  expect(await told("/page.json")).toEqual(["application/json", "no-cache"]);
  const types = await Promise.all(files.map(told));
  expect(types.map(([, caching]) => caching)).toEqual(files.map(() => "public, max-age=31536000, immutable"));
  expect(types.map(([type]) => type).sort()).toEqual([
    "image/svg+xml",
    "text/css; charset=utf-8",
    "text/javascript; charset=utf-8",
  ]);
  const etag = (await fetch(base)).headers.get("etag") ?? "";
  const again = await fetch(base, { headers: { "if-none-match": etag } });
  expect([again.status, await again.text()]).toEqual([304, ""]);
});

test("other methods and other paths are refused, and no file beside the page is served", async () => {
  expect((await fetch(base, { method: "POST" })).status).toBe(405);
  expect((await fetch(base, { method: "POST" })).headers.get("allow")).toBe("GET, HEAD");
  const head = await fetch(base, { method: "HEAD" });
  expect([head.status, await head.text(), Number(head.headers.get("content-length"))]).toEqual([
    200,
    "",
    Buffer.byteLength(html),
  ]);
  // fetch would tidy such paths: they go over the wire as they are.
  for (const path of [
    "/../../package.json",
    "/assets/../../../package.json",
    "//etc/passwd",
    "/%2e%2e/package.json",
    "/index.html",
  ])
    expect(await statusOf(path), path).toBe(404);
});

test("what everybody may know of the service, and no more", async () => {
  expect(await (await fetch(`${base}/page.json`)).json()).toEqual({
    stripeSimulated: true,
    tokenMeters: ["input_tokens", "output_tokens", "cached_input_tokens"],
  });
});

test("without a build it says how to make one", async () => {
  const unbuilt = createServer(
    pageHandler(`${PAGE_FOLDER}-that-is-not-there`, { stripeSimulated: false, catalog: testCatalog() }),
  );
  await new Promise<void>((resolve) => unbuilt.listen(0, "127.0.0.1", resolve));
  const answer = await fetch(`http://127.0.0.1:${(unbuilt.address() as AddressInfo).port}/`);
  unbuilt.close();
  expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining("npm run build")]);
});

function statusOf(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    socket.once("error", reject);
    socket.once("data", (data) => {
      socket.destroy();
      resolve(Number(String(data).split(" ")[1]));
    });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  });
}
