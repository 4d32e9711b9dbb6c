// The page of the dashboard, as `npm run build` left it, served beside Connect. All of it is in memory: it is small, and its names are known.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { OutgoingHttpHeaders } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { MeterCatalog } from "../domain/meter.ts";
import type { HttpHandler } from "../rpc/connect-server.ts";

/** What the page must know before any call, and everyone may. */
export interface PageFacts {
  readonly stripeSimulated: boolean;
  readonly catalog: MeterCatalog;
}

/** Where the build is. */
export const PAGE_FOLDER = fileURLToPath(new URL("../../build/dashboard", import.meta.url));

/** Scripts and styles of this origin only, none inline; nothing may frame it, and no form may be sent. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const HEADERS: OutgoingHttpHeaders = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
};

interface Served {
  readonly body: Buffer;
  readonly headers: OutgoingHttpHeaders & { readonly etag: string };
}

/** Answers GET and HEAD of the page and its files, 404 to all else. Without a build `/` says how to make one. */
export function pageHandler(folder: string, facts: PageFacts): HttpHandler {
  const files = readBuild(folder);
  files.set("/page.json", served(Buffer.from(JSON.stringify(published(facts))), ".json", "no-cache"));
  return (request, response) => {
    const [path = ""] = (request.url ?? "").split("?");
    const file = files.get(path);
    const isBuilt = path !== "/" || file !== undefined;
    if (file === undefined) {
      const message = isBuilt
        ? "nothing is served at this path"
        : "the page is not built: run `npm run build`, then start anew";
      const body = JSON.stringify({ code: isBuilt ? "unimplemented" : "unavailable", message });
      const headers = { ...HEADERS, "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      response.writeHead(isBuilt ? 404 : 503, headers).end(request.method === "HEAD" ? undefined : body);
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      response.writeHead(405, { ...HEADERS, allow: "GET, HEAD" }).end();
    } else if (request.headers["if-none-match"] === file.headers.etag) {
      response.writeHead(304, file.headers).end();
    } else {
      response.writeHead(200, { ...file.headers, "content-length": file.body.length });
      response.end(request.method === "HEAD" ? undefined : file.body);
    }
  };
}

/** By path. Empty where nothing was built. */
function readBuild(folder: string): Map<string, Served> {
  const files = new Map<string, Served>();
  for (const name of filesIn(folder)) {
    // Vite puts a hash into the names below assets/: what is there never changes.
    const isHashed = name.startsWith("assets/");
    const caching = isHashed ? "public, max-age=31536000, immutable" : "no-cache";
    const file = served(readFileSync(join(folder, name)), extname(name), caching);
    files.set(name === "index.html" ? "/" : `/${name}`, file);
  }
  return files;
}

function filesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    const names = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return names.map((name) => name.slice(folder.length + 1).replaceAll("\\", "/"));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw cause;
  }
}

function served(body: Buffer, extension: string, caching: string): Served {
  const etag = `"${createHash("sha256").update(body).digest("base64url")}"`;
  const type = TYPES[extension] ?? "application/octet-stream";
  return { body, headers: { ...HEADERS, "content-type": type, "cache-control": caching, etag } };
}

function published({ stripeSimulated, catalog }: PageFacts) {
  const meters = [...catalog.meters.values()];
  return { stripeSimulated, tokenMeters: meters.filter(({ unit }) => unit === "token").map(({ name }) => name) };
}
