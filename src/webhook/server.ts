// The webhook port: listens, bounds what a peer may hold open, and ends in order.
import { createServer, type RequestListener, type Server, type ServerOptions } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebhookAppOptions, webhookApp } from "./app.ts";

export interface WebhookServerOptions extends WebhookAppOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** From the first byte of a request to its last; then 408. */
  readonly requestTimeoutMs: number;
  /** Connections at once; more are turned away. With bodyMaxBytes this bounds memory. */
  readonly connectionsMax: number;
  /** Default: plain text. */
  readonly createServer?: (options: ServerOptions, listener: RequestListener) => Server;
}

export interface WebhookServer {
  readonly port: number;
  /**
   * Takes no more connections, lets requests under way end, and after `graceMs` cuts those that have not. Resolves when all are gone;
   * every call gets the same promise.
   */
  close(graceMs: number): Promise<void>;
}

/** How often Node looks for requests that take too long. */
const CHECK_INTERVAL_MS = 500;
const HEADERS_MAX_BYTES = 16_384;

/** Resolves when it listens; rejects when the port cannot be had. */
export async function startWebhookServer(options: WebhookServerOptions): Promise<WebhookServer> {
  const app = webhookApp(options);
  let closed: Promise<void> | undefined;
  const server = (options.createServer ?? createServer)(
    {
      requestTimeout: options.requestTimeoutMs,
      headersTimeout: options.requestTimeoutMs,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      maxHeaderSize: HEADERS_MAX_BYTES,
    },
    (request, response) => {
      // A connection that falls idle after close() began is kept open by nobody.
      response.once("finish", () => setImmediate(() => closed && server.closeIdleConnections()));
      app(request, response);
    },
  );
  server.maxConnections = options.connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (err) => options.logger.error({ err }, "webhook port"));
  // Resolved and listening on TCP: address() is neither null nor a path.
  const { port } = server.address() as AddressInfo;
  return {
    port,
    close(graceMs) {
      closed ??= new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), graceMs);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
      });
      return closed;
    },
  };
}
