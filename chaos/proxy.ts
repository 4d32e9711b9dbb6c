// A TCP proxy that cuts, stalls, slows and half-closes what goes through it: the network between two processes, with its faults.
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/**
 * pass: as the network should. refused: connections are reset at once. stalled: they stay open, and nothing goes through, either way; it
 * goes on afterwards. slow: every piece arrives `slowMs` late, in order. deaf: what the client sends arrives, and no answer comes back.
 */
export type Conduct = "pass" | "refused" | "stalled" | "slow" | "deaf";

export class FaultyProxy {
  readonly port: number;
  readonly #targetPort: number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #conduct: Conduct = "pass";
  #slowMs = 0;
  /** Resolved when bytes may go again. */
  #flow = Promise.withResolvers<void>();

  private constructor(port: number, targetPort: number) {
    this.port = port;
    this.#targetPort = targetPort;
    this.#flow.resolve();
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
  }

  static async start(port: number, targetPort: number): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(port, targetPort);
    proxy.#server.listen(port, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  /** Resets every connection that is open. */
  cut(): void {
    for (const link of this.#links) link.reset();
  }

  /** From now on, for open connections too. Going back to "pass" lets go what was held up; answers that fell on deaf ears are gone: those connections are reset. */
  behave(conduct: Conduct, slowMs = 0): void {
    const before = this.#conduct;
    this.#conduct = conduct;
    this.#slowMs = slowMs;
    if (conduct === "refused" || before === "deaf") this.cut();
    if (conduct === "stalled") this.#flow = Promise.withResolvers<void>();
    else this.#flow.resolve();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(client: Socket): void {
    if (this.#conduct === "refused") {
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.#targetPort, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    const link = new Link(client, server);
    this.#links.add(link);
    for (const end of [client, server]) {
      end.on("error", () => link.reset());
      end.on("close", () => {
        if (client.destroyed && server.destroyed) this.#links.delete(link);
      });
    }
    this.#carry(client, server, link, false);
    this.#carry(server, client, link, true);
  }

  /** From one end to the other. One piece at a time: what cannot be passed on is not read, and the sender feels it. */
  #carry(from: Socket, to: Socket, link: Link, isAnswer: boolean): void {
    let passed = Promise.resolve();
    const then = (act: () => Promise<void>) => {
      passed = passed.then(act).catch(() => link.reset());
    };
    from.on("data", (piece: Buffer) => {
      from.pause();
      then(async () => {
        await this.#pass(piece, to, isAnswer);
        from.resume();
      });
    });
    from.on("end", () =>
      then(async () => {
        await this.#flow.promise;
        to.end();
      }),
    );
  }

  async #pass(piece: Buffer, to: Socket, isAnswer: boolean): Promise<void> {
    await this.#flow.promise;
    if (this.#conduct === "slow") await delay(this.#slowMs);
    if ((isAnswer && this.#conduct === "deaf") || to.destroyed) return;
    if (!to.write(piece)) await once(to, "drain");
  }
}

/** Two sockets that are one connection. */
class Link {
  readonly #ends: readonly Socket[];

  constructor(...ends: readonly Socket[]) {
    this.#ends = ends;
  }

  reset(): void {
    for (const end of this.#ends) if (!end.destroyed) end.resetAndDestroy();
  }
}
