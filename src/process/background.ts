// Loops that run beside the servers.
import type { Closers } from "./lifecycle.ts";

/** Starts a loop, and remembers to end it: `run` must resolve soon after its signal aborts, and never reject. */
export async function startLoop(
  closers: Closers,
  name: string,
  run: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const abort = new AbortController();
  const running = run(abort.signal);
  await closers.add(name, () => {
    abort.abort();
    return running;
  });
}
