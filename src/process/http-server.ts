// HTTP/1.1 with TLS or without, for the ports that speak it.
import { createServer, type RequestListener, type Server, type ServerOptions } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Certificates } from "../app/ports/certificates.ts";

/** Makes the server of one port. */
export type CreateHttpServer = (options: ServerOptions, listener: RequestListener) => Server;

const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Plain text where there are no certificates. New ones are for new connections; a server that closes stops following. */
export function httpServers(certificates: Certificates | undefined): CreateHttpServer {
  if (certificates === undefined) return createServer;
  return (options, listener) => {
    const { asksClients } = certificates;
    const clients = { requestCert: asksClients, rejectUnauthorized: asksClients };
    const tls = { ...contextOf(certificates), ...clients, handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
    const server = createTlsServer({ ...options, ...tls }, listener);
    server.once(
      "close",
      certificates.onChange(() => server.setSecureContext(contextOf(certificates))),
    );
    return server;
  };
}

function contextOf(certificates: Certificates) {
  const { cert, key, ca } = certificates.current();
  return { cert, key, minVersion: "TLSv1.2", ...(certificates.asksClients && ca && { ca }) } as const;
}
