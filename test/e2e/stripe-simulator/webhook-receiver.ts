// A webhook endpoint that keeps what it is sent.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export const SECRET = "whsec_test_secret";

export interface Received {
  readonly signature: string;
  readonly body: string;
}

/** An endpoint that answers with the statuses given, in turn, then with 200. */
export async function startReceiver(statuses: number[] = []) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      received.push({ signature: String(request.headers["stripe-signature"]), body });
      response.writeHead(statuses.shift() ?? 200).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook`,
    received,
    ids: () => received.map(({ body }) => (JSON.parse(body) as { readonly id: string }).id),
    types: () => received.map(({ body }) => (JSON.parse(body) as { readonly type: string }).type),
  };
}
