// Redis: the intake in front of the ledger. This room owns keys, scripts and connections; nothing above it knows any of them.
import { Redis, type RedisOptions } from "ioredis";

/** Limits of a connection. */
export interface RedisClientOptions {
  /** redis:// or rediss:// with credentials and database, or the path of a unix socket. */
  readonly url: string;
  /** Shown by CLIENT LIST. No spaces, or Redis leaves it out. */
  readonly name: string;
  /** A command without an answer for this long fails; whether it ran is unknown. Default 2,000. */
  readonly commandTimeoutMs?: number;
  /** Told of every failure of the connection; commands fail on their own. */
  readonly onError: (error: Error) => void;
}

const RECONNECT_MS_MAX = 1_000;

/**
 * Opens a connection that comes back by itself. Commands are never kept for later nor sent twice: while the connection is away they
 * fail at once, and what was in flight when it broke fails as unknown.
 */
export function openRedis(options: RedisClientOptions): Redis {
  const client = new Redis(options.url, {
    ...connectionOptions(options),
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt - 1, 10), RECONNECT_MS_MAX),
    // A replica answers so after a failover; the address may lead to the new primary by now.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
  });
  client.on("error", options.onError);
  return client;
}

/**
 * Opens a connection for commands that block. It does not come back: when it breaks, its command fails and the next `connect` is
 * somebody's decision. Not connected yet.
 */
export function openBlockingRedis(options: RedisClientOptions): Redis {
  const client = new Redis(options.url, { ...connectionOptions(options), retryStrategy: null, lazyConnect: true });
  client.on("error", options.onError);
  return client;
}

/** Resolves when the client can take commands; rejects after `timeoutMs`, naming the last failure. */
export async function redisReady(client: Redis, timeoutMs: number): Promise<void> {
  if (client.status === "ready") return;
  let lastError: Error | undefined;
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => {
      lastError = error;
    };
    const settle = (act: () => void) => {
      clearTimeout(timer);
      client.off("ready", onReady);
      client.off("end", onEnd);
      client.off("error", onError);
      act();
    };
    const onReady = () => settle(resolve);
    const fail = () => settle(() => reject(new Error("Redis cannot be reached", { cause: lastError })));
    const onEnd = fail;
    const timer = setTimeout(fail, timeoutMs);
    client.on("ready", onReady);
    client.on("end", onEnd);
    client.on("error", onError);
  });
}

/** Ends a connection: commands in flight finish where the server answers, fail otherwise. Safe to repeat. */
export async function closeRedis(client: Redis): Promise<void> {
  try {
    await client.quit();
  } catch {
    // Away, silent, or ended before: there is nothing left to finish.
    client.disconnect();
  }
}

function connectionOptions(options: RedisClientOptions) {
  const commandTimeout = options.commandTimeoutMs ?? 2_000;
  return {
    connectionName: options.name,
    commandTimeout,
    // A server that is silent altogether: cut the connection, so that what waits for it cannot pile up.
    socketTimeout: commandTimeout + 500,
    connectTimeout: 2_000,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // 0 makes ioredis fail commands in flight as soon as the connection breaks. With any other number and no resending, those
    // commands would be forgotten on reconnect and never settle.
    maxRetriesPerRequest: 0,
  } satisfies RedisOptions;
}
