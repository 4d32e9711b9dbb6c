// API keys and their limits, as the role "api" has them.
import { intakeCounters } from "../app/intake-counters.ts";
import { KeyDirectory } from "../app/key-directory.ts";
import { LimitSeeding } from "../app/limit-seeding.ts";
import { Limits } from "../app/limits.ts";
import { ManageKeys } from "../app/manage-keys.ts";
import type { OpaqueTokens } from "../app/opaque-tokens.ts";
import type { LimitCounters } from "../app/ports/limits.ts";
import { type KeyRef, limitPolicyOf } from "../domain/limits.ts";
import { postgresApiKeys } from "../postgres/api-keys.ts";
import { postgresLimitCounters } from "../postgres/limit-ledger.ts";
import { KeyHandlers } from "../rpc/key-handlers.ts";
import { startLoop } from "./background.ts";
import { servesAdminApi } from "./config/parse-config.ts";
import type { Foundation } from "./foundation.ts";
import { openIntakeLimits } from "./intake-limits.ts";
import type { Closers } from "./lifecycle.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

export interface OpenLimits {
  readonly limits: Limits;
  /** What a buffered intake says of keys that it does not count. */
  readonly onUncounted: (keys: readonly KeyRef[]) => void;
  /** Undefined where the admin API is not served. */
  readonly keys: KeyHandlers | undefined;
}

/** Follows the definitions of keys until closed. */
export async function openLimits(foundation: Foundation, tokens: OpaqueTokens, closers: Closers): Promise<OpenLimits> {
  const { config, catalog, deployment, pool, logger } = foundation;
  const keys = postgresApiKeys(pool, catalog, deployment.shardCount);
  const policy = limitPolicyOf(catalog);
  const directory = new KeyDirectory({ keys, policy, clock: SYSTEM_CLOCK, logger });
  await startLoop(closers, "API keys", (signal) => directory.run(signal));
  const { counters, seeding } = await openCounters(foundation, closers);
  const limits = new Limits({ directory, counters });
  const onUncounted = (met: readonly KeyRef[]) =>
    seeding?.want(met.filter((key) => directory.limited(key) !== undefined));
  // Whoever changed a key finds it changed here at once; elsewhere within two polls.
  const onChange = () =>
    directory.refresh().catch((err: unknown) => logger.warn({ err }, "a changed key is not seen yet"));
  const handlers = servesAdminApi(config)
    ? new KeyHandlers(new ManageKeys({ keys, policy, onChange }), tokens)
    : undefined;
  return { limits, onUncounted, keys: handlers };
}

interface OpenCounters {
  readonly counters: LimitCounters;
  /** Undefined with Postgres intake: the ledger counts. */
  readonly seeding: LimitSeeding | undefined;
}

async function openCounters(foundation: Foundation, closers: Closers): Promise<OpenCounters> {
  const { pool, logger } = foundation;
  const inLedger = postgresLimitCounters(pool, () => SYSTEM_CLOCK.nowMs());
  const parts = openIntakeLimits(foundation);
  if (parts === undefined) return { counters: inLedger, seeding: undefined };
  const seeding = new LimitSeeding({ ...parts, logger });
  await closers.add("the seeding of limits", () => seeding.close());
  const onAway = (err: unknown) => logger.warn({ err }, "limits cannot be read from Redis; told as of the ledger");
  return { counters: intakeCounters({ intake: parts.intake, ledger: inLedger, seeding, onAway }), seeding };
}
