// Which pages elsewhere may call from a browser: those named, and exactly the headers that Connect and gRPC-Web need.
import type { IncomingMessage, ServerResponse } from "node:http";
import { cors } from "@connectrpc/connect";
import { REQUEST_ID_HEADER } from "./request-ids.ts";

const METHODS = cors.allowedMethods.join(", ");
const HEADERS = [...cors.allowedHeaders, "Authorization", REQUEST_ID_HEADER].join(", ");
const EXPOSED = [...cors.exposedHeaders, REQUEST_ID_HEADER].join(", ");
const PREFLIGHT_MAX_AGE_S = "7200";

/**
 * Answers a preflight, and resolves to true, or adds to the response what its page needs to read it. An origin that is not named gets
 * nothing: its browser then refuses. Credentials of browsers (cookies) are never allowed; tokens are sent by the page itself.
 */
export function answerCors(origins: readonly string[], request: IncomingMessage, response: ServerResponse): boolean {
  if (origins.length === 0) return false;
  response.setHeader("vary", "Origin");
  const { origin } = request.headers;
  const isPreflight = request.method === "OPTIONS" && request.headers["access-control-request-method"] !== undefined;
  if (origin !== undefined && origins.includes(origin)) {
    response.setHeader("access-control-allow-origin", origin);
    response.setHeader("access-control-expose-headers", EXPOSED);
    if (isPreflight) {
      response.setHeader("access-control-allow-methods", METHODS);
      response.setHeader("access-control-allow-headers", HEADERS);
      response.setHeader("access-control-max-age", PREFLIGHT_MAX_AGE_S);
    }
  }
  if (isPreflight) response.writeHead(204).end();
  return isPreflight;
}
