// The use cases behind KeyService and `metering keys`: definitions are checked against the configuration and changed in the database.
import { MeteringError } from "../domain/errors.ts";
import type { KeyRef, LimitPolicy } from "../domain/limits.ts";
import {
  type ApiKey,
  type ApiKeyChange,
  type ApiKeyDefinition,
  type ApiKeys,
  KEYS_PER_CUSTOMER_MAX,
} from "./ports/api-keys.ts";

/** Largest limit: far above what is ever used, and far below where 64 bits end. */
export const LIMIT_MAX = 10n ** 18n;

export interface ManageKeysDependencies {
  readonly keys: ApiKeys;
  readonly policy: LimitPolicy;
  /** Told of each change that is done, before the caller is. Must not reject. */
  readonly onChange: (key: KeyRef) => Promise<void>;
}

export class ManageKeys {
  readonly #deps: ManageKeysDependencies;

  constructor(deps: ManageKeysDependencies) {
    this.#deps = deps;
  }

  /** Defines a key. One that is defined alike is left as it is; otherwise rejects with api_key_exists. */
  async create(definition: ApiKeyDefinition): Promise<{ readonly key: ApiKey; readonly isNew: boolean }> {
    this.#checkTier(definition.tier);
    const created = await this.#deps.keys.create(definition);
    if (created.kind === "too_many") {
      const message = `a customer may have ${KEYS_PER_CUSTOMER_MAX} keys defined`;
      throw new MeteringError({ kind: "too_many_api_keys" }, message);
    }
    const { kind, key } = created;
    if (kind === "exists" && !isSame(key, definition)) {
      const { customerId, apiKeyId } = definition;
      throw new MeteringError(
        { kind: "api_key_exists", customerId, apiKeyId },
        "this API key is defined, and otherwise: update it",
      );
    }
    await this.#deps.onChange(definition);
    return { key, isNew: kind === "created" };
  }

  /** Rejects with api_key_not_found. */
  async get(key: KeyRef): Promise<ApiKey> {
    return (await this.#deps.keys.get(key)) ?? notFound(key);
  }

  list(customerId: string | undefined, after: KeyRef | undefined, limit: number): Promise<readonly ApiKey[]> {
    return this.#deps.keys.list(customerId, after, limit);
  }

  /** Rejects with api_key_not_found. */
  async update(key: KeyRef, change: ApiKeyChange): Promise<ApiKey> {
    if (change.tier !== undefined) this.#checkTier(change.tier);
    const updated = (await this.#deps.keys.update(key, change)) ?? notFound(key);
    await this.#deps.onChange(key);
    return updated;
  }

  async delete(key: KeyRef): Promise<boolean> {
    const deleted = await this.#deps.keys.delete(key);
    await this.#deps.onChange(key);
    return deleted;
  }

  #checkTier(tier: string): void {
    const { tiers } = this.#deps.policy;
    if (tier === "" || tiers.has(tier)) return;
    const known = tiers.size === 0 ? "there are none" : `there are ${[...tiers.keys()].slice(0, 10).join(", ")}`;
    const violations = [{ field: "key.tier", description: `must be a tier of the configuration: ${known}` }];
    throw new MeteringError({ kind: "invalid_request", violations }, `no tier is called ${tier}: ${known}`);
  }
}

function isSame(key: ApiKey, { name, tier, tokensPerMinute, tokensPerDay, disabled }: ApiKeyDefinition): boolean {
  const limitsAlike = key.tokensPerMinute === tokensPerMinute && key.tokensPerDay === tokensPerDay;
  return limitsAlike && key.name === name && key.tier === tier && key.disabled === disabled;
}

function notFound({ customerId, apiKeyId }: KeyRef): never {
  throw new MeteringError({ kind: "api_key_not_found", customerId, apiKeyId }, "this API key is not defined");
}
