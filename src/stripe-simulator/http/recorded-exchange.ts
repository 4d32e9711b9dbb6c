// A log of requests and their answers, as the wire had them: for tests that check them, and for people who look for a fault.
import { type IncomingMessage, ServerResponse } from "node:http";

/** One request to Stripe's API and what was answered. Bodies are text, as sent. */
export interface RecordedExchange {
  readonly method: string;
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
  readonly requestHeaders: IncomingMessage["headers"];
  readonly requestBody: string;
  /** False when the caller hung up in the middle of its request. */
  readonly isRequestWhole: boolean;
  /** Null when the connection was cut before any answer. */
  readonly status: number | null;
  readonly contentType: string;
  readonly answerBody: string;
  /** False when the connection was cut in the middle of the answer, or before it. */
  readonly isWhole: boolean;
}

/** Hears of each exchange, just before its answer is sent, or when it was cut off. What it throws goes to `onError`. */
export type ExchangeListener = (exchange: RecordedExchange) => void;

interface Recording {
  readonly path: string;
  readonly query: string;
  readonly requestChunks: Buffer[];
  readonly answerChunks: Buffer[];
  readonly report: ExchangeListener;
}

/** The response class of the simulator's port. It keeps nothing until `record` is called. */
export class RecordingResponse extends ServerResponse {
  #recording: Recording | undefined;

  /** Must be called before anything reads the request. */
  record(path: string, query: string, listener: ExchangeListener, onError: (error: unknown) => void): void {
    const report: ExchangeListener = (exchange) => {
      try {
        listener(exchange);
      } catch (error) {
        onError(error);
      }
    };
    const recording: Recording = { path, query, requestChunks: [], answerChunks: [], report };
    this.#recording = recording;
    this.req.on("data", (chunk: Buffer) => recording.requestChunks.push(chunk));
    this.once("close", () => this.#report(false));
  }

  override write(...args: unknown[]): boolean {
    this.#keep(args[0]);
    return Reflect.apply(super.write, this, args);
  }

  override end(...args: unknown[]): this {
    this.#keep(args[0]);
    this.#report(true);
    return Reflect.apply(super.end, this, args);
  }

  #keep(chunk: unknown): void {
    if (chunk instanceof Uint8Array) this.#recording?.answerChunks.push(Buffer.from(chunk));
    else if (typeof chunk === "string") this.#recording?.answerChunks.push(Buffer.from(chunk));
  }

  #report(isWhole: boolean): void {
    const recording = this.#recording;
    if (recording === undefined) return;
    this.#recording = undefined;
    recording.report({
      method: this.req.method ?? "GET",
      path: recording.path,
      query: recording.query,
      requestHeaders: this.req.headers,
      requestBody: Buffer.concat(recording.requestChunks).toString(),
      isRequestWhole: this.req.complete,
      status: this.headersSent ? this.statusCode : null,
      contentType: String(this.getHeader("content-type") ?? ""),
      answerBody: Buffer.concat(recording.answerChunks).toString(),
      isWhole,
    });
  }
}
