// A port that trusts callers for being on this machine must not trust every page that a browser on this machine shows.
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { type Config, LOOPBACK, trustsLoopback } from "./config/parse-config.ts";
import type { CreateHttpServer } from "./http-server.ts";

/**
 * Where being on this machine is all that a caller needs, answers 421 to whoever calls this machine by a name that is not its loopback's: a
 * site may have its own name resolve to 127.0.0.1 (DNS rebinding), and its page then counts as one of this service's. Elsewhere no change.
 */
export function guardHost(config: Config, create: CreateHttpServer): CreateHttpServer {
  if (!trustsLoopback(config)) return create;
  return (options, listener) => create(options, guarded(listener));
}

function guarded(listener: RequestListener): RequestListener {
  return (request: IncomingMessage, response: ServerResponse) => {
    if (isLoopback(request.headers.host)) listener(request, response as Parameters<RequestListener>[1]);
    else refuse(response);
  };
}

/** Browsers always say which host they mean, and resolve names below localhost themselves. */
function isLoopback(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host
    .replace(/:\d*$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
  return LOOPBACK.test(name) || name.endsWith(".localhost");
}

function refuse(response: ServerResponse): void {
  const message =
    "callers are trusted for being on this machine: call it as localhost or 127.0.0.1, or set METERING_AUTH=tokens or METERING_ALLOW_UNAUTHENTICATED=true";
  const body = JSON.stringify({ code: "permission_denied", message });
  response.writeHead(421, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body);
}
