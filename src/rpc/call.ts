// One call under way, whatever transport it came by.
import type { Message } from "@bufbuild/protobuf";
import type { CallContext } from "../app/usage-request.ts";
import { ANYBODY, type Caller } from "../domain/access.ts";

/** Asks a transport to call `hungUp` when the caller does, at once if it already has. */
export type HangUpWatch = (hungUp: () => void) => void;

/** Reads a header of the call, in small letters; undefined where there is none. One that came twice reads "one, other". */
export type HeaderReader = (name: string) => string | undefined;

/**
 * Its signal is made, and the transport asked to watch for a hang-up, when somebody first looks: calls that record never do. grpc-js
 * keeps a call's listeners long after the call, and the collector would move all that hangs on them.
 */
export class Call implements CallContext {
  /** Set once decoded; the log line of a failed call takes its ids from here. */
  request: Message | undefined;
  /** Of the span that the edge opened for it. */
  traceparent: string | undefined;
  /** Set by the edge before anything is done, where callers are authenticated. */
  caller: Caller = ANYBODY;
  /** Whether the edge did so before the request was read. */
  wasLetIn = false;
  /** Looked at when somebody asks: most calls never need any. */
  readonly header: HeaderReader;
  readonly #watch: HangUpWatch;
  #controller: AbortController | undefined;
  #ended = false;
  #reason: Error | undefined;

  constructor(watch: HangUpWatch, header: HeaderReader) {
    this.#watch = watch;
    this.header = header;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#ended) this.#controller.abort(this.#reason);
      else this.#watch(() => this.end());
    }
    return this.#controller.signal;
  }

  /** Whether the caller hung up while somebody looked. */
  get left(): boolean {
    return this.#ended && this.#reason === undefined;
  }

  /** Why the server ended the call, if it did. */
  get reason(): Error | undefined {
    return this.#reason;
  }

  /** Aborts the signal: with the server's reason, or without one when the caller hung up. The first end counts. */
  end(reason?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}
