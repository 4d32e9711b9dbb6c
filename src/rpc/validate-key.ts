// Requests about API keys and their limits from the wire to the domain, with every violation named at once. Throw `invalid_request`.
import type {
  CreateKeyRequest,
  ListKeysRequest,
  ApiKey as SentKey,
  UpdateKeyRequest,
} from "../../gen/metering/admin/v1/key_service_pb.ts";
import type { CheckLimitsRequest } from "../../gen/metering/v1/metering_service_pb.ts";
import type { LimitQuestion } from "../app/limits.ts";
import { LIMIT_MAX } from "../app/manage-keys.ts";
import type { ApiKeyChange, ApiKeyDefinition } from "../app/ports/api-keys.ts";
import type { KeyRef } from "../domain/limits.ts";
import { ID_MAX, textProblem } from "./text-bounds.ts";
import { Violations } from "./violations.ts";

const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;
const PAGE_TOKEN_MAX = 2048;
/** Fields that an update may change. */
const MUTABLE = ["name", "tier", "tokens_per_minute", "tokens_per_day", "disabled"] as const;
type Mutable = (typeof MUTABLE)[number];

export function toLimitQuestion(sent: CheckLimitsRequest): LimitQuestion {
  const found = new Violations();
  const key = keyOf(found, "", sent);
  const estimated = sent.estimatedTokens;
  if (estimated < 0n || estimated > LIMIT_MAX)
    found.add("invalid_request", "estimated_tokens", `must be 0..${LIMIT_MAX}`);
  throwAny(found);
  return { ...key, estimated };
}

/** Of GetKey and DeleteKey. */
export function toKeyRef(sent: { readonly customerId: string; readonly apiKeyId: string }): KeyRef {
  const found = new Violations();
  const key = keyOf(found, "", sent);
  throwAny(found);
  return key;
}

export function toDefinition({ key }: CreateKeyRequest): ApiKeyDefinition {
  const found = new Violations();
  if (key === undefined) found.add("invalid_request", "key", "is required");
  const definition = key && { ...keyOf(found, "key.", key), ...changesOf(found, key, MUTABLE) };
  throwAny(found);
  if (definition === undefined) throw new Error("a definition without a key");
  const { customerId, apiKeyId, name = "", tier = "", tokensPerMinute, tokensPerDay, disabled = false } = definition;
  return { customerId, apiKeyId, name, tier, tokensPerMinute, tokensPerDay, disabled };
}

export function toChange({ key, updateMask }: UpdateKeyRequest): {
  readonly key: KeyRef;
  readonly change: ApiKeyChange;
} {
  const found = new Violations();
  if (key === undefined) found.add("invalid_request", "key", "is required");
  const paths = updateMask?.paths ?? [];
  if (paths.length === 0) found.add("invalid_request", "update_mask", `must name some of ${MUTABLE.join(", ")}`);
  // Each may be named once; what follows cannot be anything new.
  for (const [i, path] of paths.slice(0, MUTABLE.length + 1).entries()) {
    if (!isMutable(path)) found.add("invalid_request", `update_mask.paths[${i}]`, `must be of ${MUTABLE.join(", ")}`);
    else if (paths.indexOf(path) < i) found.add("invalid_request", `update_mask.paths[${i}]`, "must occur only once");
  }
  const change = key && { key: keyOf(found, "key.", key), change: changesOf(found, key, paths.filter(isMutable)) };
  throwAny(found);
  if (change === undefined) throw new Error("a change without a key");
  return change;
}

export interface ListQuestion {
  readonly customerId: string | undefined;
  readonly pageSize: number;
  readonly pageToken: string;
}

export function toListQuestion({ customerId, pageSize, pageToken }: ListKeysRequest): ListQuestion {
  const found = new Violations();
  const problem = textProblem(customerId, 0, ID_MAX);
  if (problem !== undefined) found.add("invalid_request", "customer_id", problem);
  if (pageSize < 0) found.add("invalid_request", "page_size", "must not be negative");
  if (pageToken.length > PAGE_TOKEN_MAX) found.add("invalid_request", "page_token", "is not a token of this service");
  throwAny(found);
  const size = pageSize === 0 ? PAGE_SIZE_DEFAULT : Math.min(pageSize, PAGE_SIZE_MAX);
  return { customerId: customerId === "" ? undefined : customerId, pageSize: size, pageToken };
}

function keyOf(
  found: Violations,
  path: string,
  { customerId, apiKeyId }: { readonly customerId: string; readonly apiKeyId: string },
): KeyRef {
  checkText(found, `${path}customer_id`, customerId, 1);
  checkText(found, `${path}api_key_id`, apiKeyId, 1);
  return { customerId, apiKeyId };
}

function changesOf(found: Violations, key: SentKey, fields: readonly Mutable[]): ApiKeyChange {
  const change: { -readonly [K in keyof ApiKeyChange]: ApiKeyChange[K] } = {};
  for (const field of fields) {
    switch (field) {
      case "name":
        checkText(found, "key.name", key.name, 0);
        change.name = key.name;
        break;
      case "tier":
        checkText(found, "key.tier", key.tier, 0);
        change.tier = key.tier;
        break;
      case "tokens_per_minute":
        change.tokensPerMinute = limitOf(found, "key.tokens_per_minute", key.tokensPerMinute);
        break;
      case "tokens_per_day":
        change.tokensPerDay = limitOf(found, "key.tokens_per_day", key.tokensPerDay);
        break;
      case "disabled":
        change.disabled = key.disabled;
    }
  }
  return change;
}

function limitOf(found: Violations, field: string, limit: bigint | undefined): bigint | undefined {
  if (limit !== undefined && (limit < 0n || limit > LIMIT_MAX))
    found.add("invalid_request", field, `must be 0..${LIMIT_MAX}`);
  return limit;
}

function isMutable(path: string): path is Mutable {
  return (MUTABLE as readonly string[]).includes(path);
}

function checkText(found: Violations, field: string, text: string, min: 0 | 1): void {
  const problem = textProblem(text, min, ID_MAX);
  if (problem !== undefined) found.add("invalid_request", field, problem);
}

function throwAny(found: Violations): void {
  const error = found.toError();
  if (error !== undefined) throw error;
}
