// Ports that stay a server's own however often it is restarted.
import { once } from "node:events";
import { createServer } from "node:net";

/** Below what systems hand out to outgoing connections: one of those could take the port of a server that is down. */
const FIRST = 18_000;
const LAST = 31_000;

/** Hands out ports of 127.0.0.1 that nobody listens on, each once. */
export class Ports {
  #next: number;

  /** `start`, any whole number, spreads runs on one machine apart. */
  constructor(start: number) {
    this.#next = FIRST + (Math.abs(start) % (LAST - FIRST));
  }

  async take(): Promise<number> {
    for (let tries = FIRST; tries < LAST; tries += 1) {
      const port = this.#next;
      this.#next = port + 1 < LAST ? port + 1 : FIRST;
      if (await isFree(port)) return port;
    }
    throw new Error(`no port of ${FIRST}..${LAST} is free`);
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return true;
  } catch {
    return false;
  }
}
