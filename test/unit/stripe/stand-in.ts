// A server that answers one request after another as told: the wire, not the SDK, is what tests vary.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** As it came. */
  readonly text: string;
  /** Read as a form. */
  readonly body: URLSearchParams;
}

export type Answer = (response: ServerResponse, request: SeenRequest) => void;

export interface StandIn {
  readonly url: URL;
  readonly requests: SeenRequest[];
  /** Connections open now. */
  connections(): Promise<number>;
}

/** Starts a server that gives `answer` to every request, and stops it when the test ends. */
export async function startStandIn(answer: Answer): Promise<StandIn> {
  const requests: SeenRequest[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const { method = "", url: path = "", headers } = request;
    const seen = { method, path, headers, text, body: new URLSearchParams(text) };
    requests.push(seen);
    answer(response, seen);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    requests,
    connections: () => new Promise((resolve, reject) => server.getConnections((e, n) => (e ? reject(e) : resolve(n)))),
  };
}

/** Answers with a status, a JSON body and headers. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json", "request-id": "req_1", ...headers });
    response.end(JSON.stringify(body));
  };
}

/** Stripe's error shape. */
export function stripeError(status: number, error: object, headers: Record<string, string> = {}): Answer {
  return json(status, { error }, headers);
}

/** The event, as Stripe gives it back. */
export const acceptedEvent: Answer = (response, request) => {
  const { body } = request;
  json(200, {
    object: "billing.meter_event",
    created: 1,
    event_name: body.get("event_name"),
    identifier: body.get("identifier"),
    livemode: false,
    payload: { stripe_customer_id: body.get("payload[stripe_customer_id]"), value: body.get("payload[value]") },
    timestamp: Number(body.get("timestamp")),
  })(response, request);
};
