// Counters of limits are held against the ledger's sums again and again; what differs is counted anew.
import { type KeyRef, keyId } from "../domain/limits.ts";
import type { Tenure } from "./hold-lease.ts";
import type { Clock } from "./ports/clock.ts";
import type { LedgerDrift, LimitLedger } from "./ports/limits.ts";
import type { Logger } from "./ports/logger.ts";

export interface CompareLimitsOptions {
  readonly ledger: LimitLedger;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of each counter that differed. */
  readonly onDrift: (drift: LedgerDrift) => void;
}

/** Keys compared by one statement. */
const PAGE_KEYS = 1_000;

/**
 * One pass over all keys. Counters change in the transaction of the sums, so a difference is a fault, or a ledger that was changed by hand. A
 * crash between two pages: the next pass begins anew; a recount is one transaction.
 */
export async function compareLimits(options: CompareLimitsOptions, tenure: Pick<Tenure, "mayBegin">): Promise<void> {
  const { ledger, clock, logger, onDrift } = options;
  let after: KeyRef | undefined;
  while (tenure.mayBegin()) {
    const { drifts, keys } = await ledger.compare(after, PAGE_KEYS, clock.nowMs());
    for (const drift of drifts) onDrift(drift);
    const wrong = new Map(
      drifts.map(({ customerId, apiKeyId }) => [keyId({ customerId, apiKeyId }), { customerId, apiKeyId }]),
    );
    for (const key of wrong.values()) {
      logger.error({ ...key }, "the counters of a key's limits differ from the ledger: they are counted anew");
      await ledger.recount(key);
    }
    after = keys.at(-1);
    if (keys.length < PAGE_KEYS) return;
  }
}
