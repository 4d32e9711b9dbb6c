// Limits of API keys as Redis counts them: what reads, seeds and compares its counters stands on.
import { randomUUID } from "node:crypto";
import { compareIntakeLimits } from "../app/compare-intake-limits.ts";
import { type LeaderWork, repeatedly } from "../app/lead.ts";
import { hearVoids } from "../app/look-at-limits.ts";
import type { VoidLedger } from "../app/ports/ledger.ts";
import { limitPolicyOf } from "../domain/limits.ts";
import { shardOf } from "../domain/shard.ts";
import { postgresApiKeys } from "../postgres/api-keys.ts";
import { postgresLimitLedger } from "../postgres/limit-ledger.ts";
import { redisLimits } from "../redis/limits.ts";
import type { Foundation } from "./foundation.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

/** A pass is two reads of each key; voids by command and what Redis lost are heard of within this time. */
const COMPARE_INTERVAL_MS = 60_000;

/** Undefined with Postgres intake: there the ledger counts. */
export function openIntakeLimits({ catalog, deployment, pool, redis }: Foundation) {
  if (redis === undefined) return undefined;
  const { shardCount } = deployment;
  const nowMs = () => SYSTEM_CLOCK.nowMs();
  return {
    intake: redisLimits({ client: redis.client, shardCount, nowMs, randomId: randomUUID }),
    ledger: postgresLimitLedger(pool, catalog, shardCount),
    meters: limitPolicyOf(catalog).meters,
    shardCount,
    clock: SYSTEM_CLOCK,
    randomId: randomUUID,
  };
}

/** What a leader does about them; nothing with Postgres intake. */
export function comparingIntakeLimits(foundation: Foundation): readonly LeaderWork[] {
  const { catalog, deployment, pool, logger, metrics } = foundation;
  const parts = openIntakeLimits(foundation);
  if (parts === undefined) return [];
  const keys = postgresApiKeys(pool, catalog, deployment.shardCount);
  const options = { ...parts, keys, logger, onDrift: metrics.limitDrift };
  const work = repeatedly({
    name: "the comparison of limits in Redis with the ledger",
    intervalMs: COMPARE_INTERVAL_MS,
    clock: SYSTEM_CLOCK,
    logger,
    pass: (tenure) => compareIntakeLimits(options, tenure),
  });
  return [work];
}

/** Voids of which Redis hears at once, but for its failures: then the next comparison tells it. The answer waits for neither. */
export function heardVoids(foundation: Foundation, voids: VoidLedger): VoidLedger {
  const parts = openIntakeLimits(foundation);
  if (parts === undefined) return voids;
  return {
    async voidRecord(request) {
      const result = await voids.voidRecord(request);
      if (result.kind !== "voided" || result.record.apiKeyId === "") return result;
      const key = { customerId: request.customerId, apiKeyId: result.record.apiKeyId };
      hearVoids(parts, shardOf(key.customerId, parts.shardCount), key).catch((err: unknown) =>
        foundation.logger.warn({ err }, "Redis has not heard of a void yet; less is told than is left"),
      );
      return result;
    },
  };
}
