// /livez, /readyz and /metrics, for the platform that runs the service. Never reachable for callers: a port of its own.
import { hash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type CreateHttpServer, httpServers } from "./http-server.ts";

/** How one part of the service is. */
export interface ComponentState {
  readonly ok: boolean;
  /** One line an operator can act on; may be empty when ok. */
  readonly message: string;
}

/** Looks after one part. */
export interface ComponentCheck {
  readonly name: string;
  /** Whether the service must not be sent traffic while this is not ok. A part that traffic survives is shown only. */
  readonly required: boolean;
  /** A rejection, or no answer within CHECK_TIMEOUT_MS, is "not ok". */
  readonly check: () => Promise<ComponentState>;
}

export interface OpsServerOptions {
  readonly host: string;
  /** 0 for a free one. */
  readonly port: number;
  readonly checks: readonly ComponentCheck[];
  /** Asked for by /metrics, and by /readyz before it says why a component is not ok, which may name hosts and users. Undefined: by nobody. */
  readonly token?: string | undefined;
  /** Default: plain text. */
  readonly createServer?: CreateHttpServer;
  readonly metrics: { readonly contentType: string; metrics(): Promise<string> };
}

export interface OpsServer {
  readonly port: number;
  /** From now on /readyz says 503 with this reason; /livez and /metrics go on. */
  setNotReady(reason: string): void;
  close(): Promise<void>;
}

const CHECK_TIMEOUT_MS = 2_000;

/** Listens and resolves; rejects when the port is taken. Until all checks are given it should not be started: ready means started. */
export async function startOpsServer(options: OpsServerOptions): Promise<OpsServer> {
  let notReady: string | undefined;
  let running: Promise<Readiness> | undefined;
  const readiness = () => {
    // All who ask while a round of checks runs share it: probes cannot pile up on a store that hangs.
    running ??= checkAll(options.checks).finally(() => {
      running = undefined;
    });
    return running;
  };
  const isKnown = knownBy(options.token);
  const routes: Routes = new Map<string, Route>([
    ["/livez", async (_, response) => send(response, 200, "text/plain", "ok\n")],
    [
      "/readyz",
      async (request, response) => {
        const state = await readiness();
        const ready = state.ready && notReady === undefined;
        const components = isKnown(request) ? state.components : withoutMessages(state.components);
        const body = { ready, ...(notReady === undefined ? {} : { reason: notReady }), components };
        send(response, ready ? 200 : 503, "application/json", `${JSON.stringify(body)}\n`);
      },
    ],
    [
      "/metrics",
      async (request, response) => {
        if (isKnown(request)) send(response, 200, options.metrics.contentType, await options.metrics.metrics());
        else send(response.setHeader("www-authenticate", "Bearer"), 401, "text/plain", "a valid token is needed\n");
      },
    ],
  ]);
  const server = (options.createServer ?? httpServers(undefined))(
    { requestTimeout: 10_000, maxHeaderSize: 8_192 },
    (request, response) => {
      // Nothing here reads a body.
      request.resume();
      void answer(routes, request, response);
    },
  );
  server.listen(options.port, options.host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    setNotReady(reason) {
      notReady = reason;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

type Route = (request: IncomingMessage, response: ServerResponse) => Promise<void>;
type Routes = ReadonlyMap<string, Route>;

/** Whether a request shows the token. Digests are compared, so that the time taken tells nothing, not even the length. */
function knownBy(token: string | undefined): (request: IncomingMessage) => boolean {
  if (token === undefined) return () => true;
  const expected = hash("sha256", token, "buffer");
  return ({ headersDistinct: { authorization = [] } }) => {
    const [, shown] = /^bearer +(\S+)$/i.exec(authorization.join(", ")) ?? [];
    return shown !== undefined && timingSafeEqual(hash("sha256", shown, "buffer"), expected);
  };
}

function withoutMessages(components: Readiness["components"]) {
  return Object.fromEntries(Object.entries(components).map(([name, { message: _, ...state }]) => [name, state]));
}

async function answer(routes: Routes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path = ""] = (request.url ?? "").split("?");
  const route = routes.get(path);
  if (route === undefined) return send(response, 404, "text/plain", "not found\n");
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return send(response, 405, "text/plain", "method not allowed\n");
  }
  try {
    await route(request, response);
  } catch {
    send(response, 500, "text/plain", "internal error\n");
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(body);
}

interface Readiness {
  readonly ready: boolean;
  readonly components: Readonly<Record<string, ComponentState & { readonly required: boolean }>>;
}

async function checkAll(checks: readonly ComponentCheck[]): Promise<Readiness> {
  const states = await Promise.all(checks.map(async (check) => ({ check, state: await checkOne(check) })));
  return {
    ready: states.every(({ check, state }) => state.ok || !check.required),
    components: Object.fromEntries(
      states.map(({ check, state }) => [check.name, { ...state, required: check.required }]),
    ),
  };
}

async function checkOne({ check }: ComponentCheck): Promise<ComponentState> {
  const timer = new AbortController();
  const late = delay(CHECK_TIMEOUT_MS, undefined, { signal: timer.signal }).then(
    () => ({ ok: false, message: `no answer within ${CHECK_TIMEOUT_MS / 1000} s` }),
    () => ({ ok: false, message: "" }),
  );
  try {
    return await Promise.race([check(), late]);
  } catch (cause) {
    return { ok: false, message: cause instanceof Error ? cause.message : String(cause) };
  } finally {
    timer.abort();
  }
}
