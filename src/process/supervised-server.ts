// Keeps an embedded server running: one that ends by itself is started again, on its port, with its data.
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "./logger.ts";

interface Server {
  readonly port: number;
  readonly exited: Promise<void>;
  stop(): Promise<void>;
}

export interface SupervisedServer<T extends Server> {
  /** As first started; its port and credentials stay true for all that follow. */
  readonly first: T;
  /** Resolves, with a reason, when it was given up. */
  readonly died: Promise<string>;
  stop(): Promise<void>;
}

const RESTART_DELAY_MS = 1_000;
/** Postgres cannot come back before the last of its killed predecessor's processes has noticed. */
const RESTARTS_MAX = 30;

/** Starts the server; rejects when that fails. `start` gets the port to use again, undefined the first time. */
export async function superviseServer<T extends Server>(
  name: string,
  start: (port: number | undefined) => Promise<T>,
  logger: Logger,
): Promise<SupervisedServer<T>> {
  const first = await start(undefined);
  const stopping = new AbortController();
  let current: Server = first;
  const watch = async (): Promise<string | undefined> => {
    for (let failures = 0; failures < RESTARTS_MAX; failures += 1) {
      await current.exited;
      if (stopping.signal.aborted) return undefined;
      logger.error({ port: first.port }, `${name} ended by itself; it is started again`);
      await delay(RESTART_DELAY_MS, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return undefined;
      try {
        current = await start(first.port);
        failures = 0;
      } catch (err) {
        logger.error({ err }, `${name} could not be started again`);
      }
    }
    return `${name} ended and could not be started again`;
  };
  const watching = watch();
  return {
    first,
    // Never, when it was stopped.
    died: watching.then((reason) => reason ?? new Promise<string>(() => {})),
    async stop() {
      stopping.abort();
      await current.stop();
      await watching;
      // A restart that was under way when the stop came.
      await current.stop();
    },
  };
}
