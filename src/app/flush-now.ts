// A flush on demand, from a process that need not be the leader.
import type { Flush } from "./flush.ts";
import { type LeaseHolderOptions, runWhileHeld } from "./hold-lease.ts";
import type { Backlog, FlushRequests, Reports } from "./ports/reports.ts";

export interface FlushNowOptions {
  readonly reports: Reports;
  readonly requests: FlushRequests;
  readonly holder: LeaseHolderOptions;
  /** Does the work when nobody else leads. */
  readonly flush: Flush;
  /** Undefined: everybody. */
  readonly customerId: string | undefined;
  readonly onProgress: (backlog: Backlog) => void;
}

/** Between looks whether the request is complete. */
const POLL_MS = 250;

/**
 * Asks for a flush, open windows included, and resolves to true when every report of it was tried: accepted, held, or waiting for a retry.
 * Campaigns for the lease meanwhile, so that the work is done even when no service runs. False when `signal` aborted first; the request
 * stays, for the next leader. Rejects when Postgres is away.
 */
export async function flushNow(options: FlushNowOptions, signal: AbortSignal): Promise<boolean> {
  const { reports, requests, holder, flush, customerId, onProgress } = options;
  const requestId = await requests.request(customerId);
  const done = new AbortController();
  const leading = runWhileHeld(holder, AbortSignal.any([signal, done.signal]), (tenure) => flush.run(tenure));
  try {
    while (!signal.aborted) {
      if (await requests.isComplete(requestId)) return true;
      onProgress(await reports.backlog());
      await holder.clock.sleep(POLL_MS, signal);
    }
    return false;
  } finally {
    done.abort();
    await leading;
  }
}
