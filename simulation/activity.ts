// What is under way: calls to Postgres, HTTP requests on either side. While there is any, time stands still.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ClientRequest, ServerResponse } from "node:http";
import { setImmediate as turn } from "node:timers/promises";

/** Turns of the event loop without any change, after which nothing more is to come of what has ended. */
const CALM_TURNS = 4;

type Listener = (message: unknown) => void;

export class Activity {
  #underWay = 0;
  /** Grows with every begin and end, so that what both began and ended between two looks is seen. */
  #changes = 0;
  #idle = Promise.withResolvers<void>();
  readonly #fetches = new Set<object>();
  readonly #listeners: readonly (readonly [channel: string, listener: Listener])[];

  /** Counts the HTTP requests of the whole process from here on, until close(). */
  constructor() {
    this.#listeners = [
      ["http.client.request.created", (message) => this.#untilClosed((message as { request: ClientRequest }).request)],
      ["http.server.request.start", (message) => this.#untilClosed((message as { response: ServerResponse }).response)],
      ["undici:request:create", (message) => this.#fetchBegan((message as { request: object }).request)],
      ["undici:request:trailers", (message) => this.#fetchEnded((message as { request: object }).request)],
      ["undici:request:error", (message) => this.#fetchEnded((message as { request: object }).request)],
    ];
    for (const [channel, listener] of this.#listeners) subscribe(channel, listener);
    this.#idle.resolve();
  }

  begin(): void {
    if (this.#underWay === 0) this.#idle = Promise.withResolvers();
    this.#underWay += 1;
    this.#changes += 1;
  }

  end(): void {
    this.#underWay -= 1;
    this.#changes += 1;
    if (this.#underWay === 0) this.#idle.resolve();
  }

  /** Counts `work` until it settles; how it settles is the caller's to see. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.begin();
    try {
      return await work();
    } finally {
      this.end();
    }
  }

  /** Resolves once nothing is under way, and nothing follows from what was. */
  async quiet(): Promise<void> {
    for (let calm = 0; calm < CALM_TURNS; ) {
      await this.#idle.promise;
      const before = this.#changes;
      await turn();
      calm = this.#underWay === 0 && this.#changes === before ? calm + 1 : 0;
    }
  }

  get changes(): number {
    return this.#changes;
  }

  close(): void {
    for (const [channel, listener] of this.#listeners) unsubscribe(channel, listener);
  }

  #untilClosed(exchange: ClientRequest | ServerResponse): void {
    this.begin();
    exchange.once("close", () => this.end());
  }

  #fetchBegan(request: object): void {
    this.#fetches.add(request);
    this.begin();
  }

  /** A fetch may both fail and be said to have ended. */
  #fetchEnded(request: object): void {
    if (this.#fetches.delete(request)) this.end();
  }
}
