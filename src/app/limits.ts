// What is left of keys' limits: told with records and totals, and asked before the work is done.
import { MeteringError } from "../domain/errors.ts";
import {
  type KeyRef,
  type KeyUsage,
  keyId,
  type LimitPolicy,
  type LimitStatus,
  limitStatuses,
  reachedLimit,
} from "../domain/limits.ts";
import type { KeyDirectory } from "./key-directory.ts";
import type { LimitCounters } from "./ports/limits.ts";

export interface LimitsDependencies {
  readonly directory: KeyDirectory;
  /** As of now: what the intake took, whether the ledger has it or not. */
  readonly counters: LimitCounters;
}

export interface LimitQuestion extends KeyRef {
  /** 0: nothing is estimated. */
  readonly estimated: bigint;
}

const NONE: readonly LimitStatus[] = [];

export class Limits {
  readonly #deps: LimitsDependencies;

  constructor(deps: LimitsDependencies) {
    this.#deps = deps;
  }

  get #policy(): LimitPolicy {
    return this.#deps.directory.policy;
  }

  /** Of a key that was just recorded under; `usage` is what the intake told with it. */
  after(key: KeyRef, usage: KeyUsage | undefined): readonly LimitStatus[] {
    const found = usage && this.#deps.directory.limited(key);
    return found === undefined || usage === undefined ? NONE : limitStatuses(found, this.#policy, usage);
  }

  /** What keys of records used by now, for those that have limits, in the order of the records. Never rejects: see `onUnknown`. */
  async usages(
    records: readonly KeyRef[],
    onUnknown: (cause: unknown) => void,
  ): Promise<readonly (KeyUsage | undefined)[]> {
    const limited = new Map<string, KeyRef>();
    for (const { customerId, apiKeyId } of records) {
      if (this.#deps.directory.limited({ customerId, apiKeyId }) === undefined) continue;
      limited.set(keyId({ customerId, apiKeyId }), { customerId, apiKeyId });
    }
    if (limited.size === 0) return [];
    try {
      const keys = [...limited.keys()];
      const usages = await this.#deps.counters.read([...limited.values()]);
      const byKey = new Map(keys.map((key, i) => [key, usages[i]]));
      return records.map((record) => byKey.get(keyId(record)));
    } catch (cause) {
      // The records are stored: that is what is answered.
      onUnknown(cause);
      return [];
    }
  }

  /** As of now. None where the key has none, or what it used is not known now. Rejects with a MeteringError while the store is away. */
  async now(key: KeyRef): Promise<readonly LimitStatus[]> {
    const found = this.#deps.directory.limited(key);
    if (found === undefined) return NONE;
    const [usage] = await this.#deps.counters.read([key]);
    return usage === undefined ? NONE : limitStatuses(found, this.#policy, usage);
  }

  /**
   * Whether work may be done under a key: its limits, or a rejection with `limit_reached` or `api_key_disabled`. Nothing is reserved. What cannot
   * be known is `limits_unknown`: whether to go ahead then is for the caller to say.
   */
  async check({ estimated, ...key }: LimitQuestion): Promise<readonly LimitStatus[]> {
    const { customerId, apiKeyId } = key;
    if (this.#deps.directory.find(key)?.disabled) {
      throw new MeteringError({ kind: "api_key_disabled", customerId, apiKeyId }, "this API key is disabled");
    }
    const found = this.#deps.directory.limited(key);
    if (found === undefined) return NONE;
    const [usage] = await this.#deps.counters.read([key]);
    if (usage === undefined) throw limitsUnknown();
    const statuses = limitStatuses(found, this.#policy, usage);
    const reached = reachedLimit(found, this.#policy, statuses, estimated);
    if (reached === undefined) return statuses;
    throw limitReached(key, reached, estimated, usage.nowMs);
  }
}

const UNKNOWN_RETRY_MS = 500;

function limitsUnknown(): MeteringError {
  const failure = { kind: "limits_unknown", retryAfterMs: UNKNOWN_RETRY_MS } as const;
  return new MeteringError(failure, "what this key has used is being counted; ask again");
}

function limitReached(key: KeyRef, status: LimitStatus, estimated: bigint, nowMs: number): MeteringError {
  const { window, limit, remaining, resetMs } = status;
  const failure = { kind: "limit_reached", ...key, window, limit, remaining, resetMs } as const;
  const left = remaining > 0n ? `${remaining} of ${limit} tokens are left` : `the limit of ${limit} tokens is used up`;
  const message = `${left} in this ${window}, until ${new Date(resetMs).toISOString()}`;
  // No window is ever large enough.
  if (estimated > limit || limit === 0n) return new MeteringError(failure, message);
  return new MeteringError({ ...failure, retryAfterMs: Math.max(1, resetMs - nowMs) }, message);
}
