// Keeps a stream or a poll going: tries again with back-off, and tells how it stands.
import { Code, ConnectError } from "@connectrpc/connect";

export type LinkState =
  | { readonly is: "connecting" }
  | { readonly is: "live" }
  | { readonly is: "waiting"; readonly retryMs: number }
  /** Trying again would be answered alike. */
  | { readonly is: "refused"; readonly error: ConnectError };

/** One try: calls `alive` whenever something arrives, and rejects or resolves when it is over. */
export type Attempt = (signal: AbortSignal, alive: () => void) => Promise<void>;

export type Tell = (state: LinkState) => void;

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
/** Nothing for so long: the connection is taken for dead, whatever TCP believes. Above the heartbeats asked for. */
const SILENCE_MAX_MS = 15_000;

const FINAL: ReadonlySet<Code> = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.InvalidArgument,
  Code.Unimplemented,
  Code.NotFound,
]);

/** Tries until the server refuses or `signal` aborts. Never rejects. */
export async function persist(attempt: Attempt, tell: Tell, signal: AbortSignal): Promise<void> {
  let retryMs = FIRST_RETRY_MS;
  while (!signal.aborted) {
    try {
      await watched(attempt, signal, () => {
        retryMs = FIRST_RETRY_MS;
        tell({ is: "live" });
      });
    } catch (cause) {
      const error = ConnectError.from(cause);
      if (FINAL.has(error.code)) {
        tell({ is: "refused", error });
        return;
      }
    }
    if (signal.aborted) return;
    // Half of it by chance: pages that lost one server do not come back to the next all at once.
    const waitMs = retryMs * (0.5 + Math.random() / 2);
    tell({ is: "waiting", retryMs: waitMs });
    await pause(waitMs, signal);
    retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
  }
}

/**
 * Keeps `first` going, and beside it `others` once it is live: whoever may not read is told so once, by a stream, in whose answer browsers
 * see no failed request to complain of. Until both are over.
 */
export async function persistInOrder(
  first: (tell: Tell) => Promise<void>,
  tell: Tell,
  others: () => readonly Promise<void>[],
): Promise<void> {
  const open = Promise.withResolvers<boolean>();
  const running = first((state) => {
    if (state.is === "live") open.resolve(true);
    tell(state);
  }).finally(() => open.resolve(false));
  if (await open.promise) await Promise.all(others());
  await running;
}

async function watched(attempt: Attempt, signal: AbortSignal, alive: () => void): Promise<void> {
  const silence = new AbortController();
  const expire = () => silence.abort(new Error("silence"));
  let timer = setTimeout(expire, SILENCE_MAX_MS);
  try {
    await attempt(AbortSignal.any([signal, silence.signal]), () => {
      clearTimeout(timer);
      timer = setTimeout(expire, SILENCE_MAX_MS);
      alive();
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves after `ms`, or when `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
