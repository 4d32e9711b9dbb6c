// What a leader does side by side within one tenure.
import type { Tenure } from "./hold-lease.ts";
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";
import { StaleLeaseError } from "./ports/reports.ts";

/** Part of the leader's work: goes on until the tenure ends, or as long as it takes. */
export type LeaderWork = (tenure: Tenure) => Promise<void>;

/**
 * Runs works side by side. When one fails, or ends before its time, the others are told to stop and are waited for, so that no work outlives
 * the tenure. Rejects with the first failure.
 */
export async function leadAll(tenure: Tenure, works: readonly LeaderWork[]): Promise<void> {
  const ended = new AbortController();
  const shared: Tenure = {
    grant: tenure.grant,
    signal: tenure.signal,
    stopping: AbortSignal.any([tenure.stopping, ended.signal]),
    mayBegin: () => !ended.signal.aborted && tenure.mayBegin(),
  };
  const results = await Promise.allSettled(works.map((work) => work(shared).finally(() => ended.abort())));
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

export interface RepeatedWork {
  /** For the log: "the ... failed". */
  readonly name: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** One pass. What fails is logged, and tried again at the next interval: it must not take the flush down. */
  readonly pass: LeaderWork;
}

/** Work that is done again and again: a pass at once, then one every interval, until the tenure ends. Rejects only when the lease was lost. */
export function repeatedly({ name, intervalMs, clock, logger, pass }: RepeatedWork): LeaderWork {
  return async (tenure) => {
    let failing = false;
    while (tenure.mayBegin()) {
      try {
        await pass(tenure);
        failing = false;
      } catch (err) {
        if (err instanceof StaleLeaseError) throw err;
        // One line an outage.
        if (!failing) logger.error({ err }, `${name} failed; it is tried again`);
        failing = true;
      }
      if (tenure.mayBegin()) await clock.sleep(intervalMs, tenure.stopping);
    }
  };
}
