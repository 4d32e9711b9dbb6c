// Reconciliation as part of the role "flush": whoever leads also compares with Stripe's sums.
import type { MeterSummaries, Reconciliation } from "../app/ports/reconciliation.ts";
import { RECONCILE_SETTINGS, Reconcile } from "../app/reconcile.ts";
import { postgresReconciliation } from "../postgres/reconciliation.ts";
import type { openStripe } from "../stripe/client.ts";
import { readsPerSecondMax } from "../stripe/rate-limits.ts";
import { stripeSummaries } from "../stripe/summaries.ts";
import { isSandbox } from "./config/parse-config.ts";
import type { Foundation } from "./foundation.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

/** A reconciliation and what it stands on; also what `metering stripe reconcile` looks with, and runs when nobody leads. */
export interface ReconcileParts {
  readonly reconcile: Reconcile;
  readonly book: Reconciliation;
  readonly summaries: MeterSummaries;
}

export function createReconcile(
  foundation: Pick<Foundation, "config" | "pool" | "deployment" | "logger" | "metrics">,
  stripe: ReturnType<typeof openStripe>,
  leaseName: string,
): ReconcileParts {
  const { config, pool, deployment, logger, metrics } = foundation;
  const book = postgresReconciliation(pool, leaseName, config.reconcileLagMs);
  const summaries = stripeSummaries(stripe, SYSTEM_CLOCK);
  const reconcile = new Reconcile({
    book,
    summaries,
    deploymentId: deployment.deploymentId,
    settings: {
      ...RECONCILE_SETTINGS,
      intervalMs: config.reconcileIntervalMs,
      lagMs: config.reconcileLagMs,
      repairLimit: BigInt(config.repairLimit),
      readsPerSecondMax: readsPerSecondMax(!isSandbox(config)),
    },
    clock: SYSTEM_CLOCK,
    logger,
    observer: metrics.reconcile,
  });
  return { reconcile, book, summaries };
}
