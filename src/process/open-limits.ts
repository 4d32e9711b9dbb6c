// API keys and their limits, as the role "api" has them.
import { KeyDirectory } from "../app/key-directory.ts";
import { Limits } from "../app/limits.ts";
import { ManageKeys } from "../app/manage-keys.ts";
import type { OpaqueTokens } from "../app/opaque-tokens.ts";
import { limitPolicyOf } from "../domain/limits.ts";
import { postgresApiKeys } from "../postgres/api-keys.ts";
import { postgresLimitCounters } from "../postgres/limit-ledger.ts";
import { KeyHandlers } from "../rpc/key-handlers.ts";
import { startLoop } from "./background.ts";
import { servesAdminApi } from "./config/parse-config.ts";
import type { Foundation } from "./foundation.ts";
import type { Closers } from "./lifecycle.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

export interface OpenLimits {
  readonly limits: Limits;
  /** Undefined where the admin API is not served. */
  readonly keys: KeyHandlers | undefined;
}

/** Follows the definitions of keys until closed. What keys used is read from the ledger: with Redis, what waits in the buffer is not in it. */
export async function openLimits(foundation: Foundation, tokens: OpaqueTokens, closers: Closers): Promise<OpenLimits> {
  const { config, catalog, deployment, pool, logger } = foundation;
  const keys = postgresApiKeys(pool, catalog, deployment.shardCount);
  const policy = limitPolicyOf(catalog);
  const directory = new KeyDirectory({ keys, policy, clock: SYSTEM_CLOCK, logger });
  await startLoop(closers, "API keys", (signal) => directory.run(signal));
  const limits = new Limits({ directory, counters: postgresLimitCounters(pool, () => SYSTEM_CLOCK.nowMs()) });
  // Whoever changed a key finds it changed here at once; elsewhere within two polls.
  const onChange = () =>
    directory.refresh().catch((err: unknown) => logger.warn({ err }, "a changed key is not seen yet"));
  const handlers = servesAdminApi(config)
    ? new KeyHandlers(new ManageKeys({ keys, policy, onChange }), tokens)
    : undefined;
  return { limits, keys: handlers };
}
