import type { Logger } from "../../src/app/ports/logger.ts";
import type { MeterCatalog } from "../../src/domain/meter.ts";
import { postgresAccounts } from "../../src/postgres/accounts.ts";
import type { Pool } from "../../src/postgres/pool.ts";

export interface Learner {
  readonly catalog: MeterCatalog;
  readonly shardCount: number;
  readonly logger: Logger;
}

/** Learns of billing-period boundaries as the webhook worker does: from a subscription. */
export async function learnBoundaries(
  pool: Pool,
  learner: Learner,
  customerId: string,
  boundariesMs: readonly number[],
) {
  const state = {
    subscriptionId: `sub_${customerId}`,
    stripeCustomerId: customerId,
    status: "active",
    currentPeriod: undefined,
    boundariesMs: [...boundariesMs].sort((a, b) => a - b),
  };
  const accounts = postgresAccounts(pool, learner, "flush");
  await accounts.exclusively(state.subscriptionId, (writer) => writer.saveSubscription(state));
}
