// Tells "Postgres is away, come again" from a bug.
import { MeteringError } from "../domain/errors.ts";

/** SQLSTATE classes and codes of a server that cannot answer now: connection lost, starting or stopping, out of resources, cancelled. */
const AWAY = /^(08|53|57P0|57014|25006|40001|40P01|55P03)/;
/** Codes of sockets and look-ups. */
const SOCKET = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH"]);
/** What node-postgres throws without a code. */
const CLIENT =
  /connection terminated|timeout exceeded when trying to connect|connection timeout|client has encountered a connection error|cannot use a pool after calling end/i;

const RETRY_AFTER_MS = 1_000;

/** Runs a read; while Postgres is away it fails with ledger_unavailable. Anything else is rethrown as it is. */
export function reading<T>(read: () => Promise<T>): Promise<T> {
  return unlessAway(read, "totals cannot be read now; recording may go on");
}

/** As reading(), of a write that may be repeated. */
export function repeatable<T>(write: () => Promise<T>): Promise<T> {
  return unlessAway(write, "the ledger cannot be written now; this may be done or not: repeat it");
}

async function unlessAway<T>(work: () => Promise<T>, message: string): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!isAway(cause)) throw cause;
    throw new MeteringError({ kind: "ledger_unavailable", retryAfterMs: RETRY_AFTER_MS }, message, { cause });
  }
}

function isAway(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  const code = "code" in cause ? String(cause.code) : "";
  return AWAY.test(code) || SOCKET.has(code) || CLIENT.test(cause.message);
}
