// A collector of OpenTelemetry's, as small as one can be: OTLP over HTTP, JSON.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** As the JSON encoding of OTLP has it; ids in hex. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly status: { readonly code?: number };
}

interface TracesData {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: ReceivedSpan["attributes"] };
    readonly scopeSpans: readonly { readonly spans: readonly ReceivedSpan[] }[];
  }[];
}

export interface OtlpReceiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  /** The bodies as they came, and the headers of the last request. */
  readonly bodies: string[];
  readonly headers: Record<string, unknown>;
  /** Answers 503 from now on, or no longer. */
  failing: boolean;
}

/** Listens until the test ends. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const received = { url: "", spans: [] as ReceivedSpan[], bodies: [] as string[], headers: {}, failing: false };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    if (received.failing || request.url !== "/v1/traces" || request.method !== "POST") {
      response.writeHead(received.failing ? 503 : 404).end();
      return;
    }
    received.bodies.push(body);
    received.headers = request.headers;
    const { resourceSpans } = JSON.parse(body) as TracesData;
    received.spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)));
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  received.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return received;
}

/** Attributes by name, whatever their type. */
export function attributesOf(span: ReceivedSpan): Record<string, unknown> {
  return Object.fromEntries(span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
