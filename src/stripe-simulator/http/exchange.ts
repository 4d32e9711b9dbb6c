// Reading requests and writing answers on node:http, whole, half, or not at all.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Answer } from "../state/idempotency.ts";
import { StripeError } from "./stripe-error.ts";

const BODY_BYTES_MAX = 4 << 20;

/** The request's body as text. Throws 413 past 4 MiB. */
export function readBody(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) reject(new StripeError(413, "The request body is too large."));
      else chunks.push(chunk);
    });
    request.on("end", () => resolve(chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString()));
    request.on("error", reject);
    request.on("close", () => reject(new Error("the request was cut off")));
  });
}

/** Writes an answer whole. */
export function send(response: ServerResponse, answer: Answer): void {
  const body = bytesOf(answer);
  response.writeHead(answer.status, headersOf(answer, body));
  response.end(body);
}

/** Announces the whole answer, writes half of it, and cuts the connection. */
export function sendTruncated(response: ServerResponse, answer: Answer): void {
  const body = bytesOf(answer);
  response.writeHead(answer.status, headersOf(answer, body));
  response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy());
}

/** Cuts the connection with a TCP reset, unanswered. */
export function reset(response: ServerResponse): void {
  response.socket?.resetAndDestroy();
}

/** An answer of any other type than JSON. */
export function sendText(response: ServerResponse, status: number, contentType: string, text: string): void {
  const body = Buffer.from(text);
  response.writeHead(status, { "content-type": contentType, "content-length": body.length });
  response.end(body);
}

function bytesOf({ body }: Answer): Buffer {
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
}

function headersOf(answer: Answer, body: Buffer): Record<string, string | number> {
  return { ...answer.headers, "content-type": "application/json", "content-length": body.length };
}
