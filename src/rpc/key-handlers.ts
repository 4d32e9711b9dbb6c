// The RPCs of KeyService, transport-neutral. Every rejection is a MeteringError, or a bug.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  ApiKeySchema,
  type CreateKeyRequest,
  type CreateKeyResponse,
  CreateKeyResponseSchema,
  type DeleteKeyRequest,
  type DeleteKeyResponse,
  DeleteKeyResponseSchema,
  type GetKeyRequest,
  type GetKeyResponse,
  GetKeyResponseSchema,
  type ListKeysRequest,
  type ListKeysResponse,
  ListKeysResponseSchema,
  type ApiKey as SentKey,
  type UpdateKeyRequest,
  type UpdateKeyResponse,
  UpdateKeyResponseSchema,
} from "../../gen/metering/admin/v1/key_service_pb.ts";
import type { ManageKeys } from "../app/manage-keys.ts";
import type { OpaqueTokens } from "../app/opaque-tokens.ts";
import type { ApiKey } from "../app/ports/api-keys.ts";
import { MeteringError } from "../domain/errors.ts";
import type { KeyRef } from "../domain/limits.ts";
import { toChange, toDefinition, toKeyRef, toListQuestion } from "./validate-key.ts";

/** One set of handlers serves every transport, so that they answer alike. */
export class KeyHandlers {
  readonly #keys: ManageKeys;
  readonly #tokens: OpaqueTokens;

  constructor(keys: ManageKeys, tokens: OpaqueTokens) {
    this.#keys = keys;
    this.#tokens = tokens;
  }

  /** See the proto. */
  async createKey(request: CreateKeyRequest): Promise<CreateKeyResponse> {
    const { key } = await this.#keys.create(toDefinition(request));
    return create(CreateKeyResponseSchema, { key: toSentKey(key) });
  }

  /** See the proto. */
  async getKey(request: GetKeyRequest): Promise<GetKeyResponse> {
    return create(GetKeyResponseSchema, { key: toSentKey(await this.#keys.get(toKeyRef(request))) });
  }

  /** See the proto. */
  async listKeys(request: ListKeysRequest): Promise<ListKeysResponse> {
    const { customerId, pageSize, pageToken } = toListQuestion(request);
    const after = pageToken === "" ? undefined : this.#openPage(pageToken, customerId);
    const keys = await this.#keys.list(customerId, after, pageSize + 1);
    const page = keys.slice(0, pageSize);
    const last = page.at(-1);
    const more = keys.length > pageSize && last !== undefined;
    const nextPageToken = more
      ? this.#tokens.seal("page", [LIST_KEYS, customerId ?? "", last.customerId, last.apiKeyId])
      : "";
    return create(ListKeysResponseSchema, { keys: page.map(toSentKey), nextPageToken });
  }

  /** See the proto. */
  async updateKey(request: UpdateKeyRequest): Promise<UpdateKeyResponse> {
    const { key, change } = toChange(request);
    return create(UpdateKeyResponseSchema, { key: toSentKey(await this.#keys.update(key, change)) });
  }

  /** See the proto. */
  async deleteKey(request: DeleteKeyRequest): Promise<DeleteKeyResponse> {
    return create(DeleteKeyResponseSchema, { deleted: await this.#keys.delete(toKeyRef(request)) });
  }

  #openPage(token: string, customerId: string | undefined): KeyRef {
    const content = this.#tokens.open("page", token, "page_token");
    const [use, customer, afterCustomer, afterKey] = Array.isArray(content) ? (content as string[]) : [];
    if (use === LIST_KEYS && customer === (customerId ?? "") && afterCustomer !== undefined && afterKey !== undefined)
      return { customerId: afterCustomer, apiKeyId: afterKey };
    const description = "belongs to another request; only page_size may change between pages";
    const violations = [{ field: "page_token", description }];
    throw new MeteringError({ kind: "invalid_request", violations }, `page_token: ${description}`);
  }
}

/** Marks a page token as this RPC's own. */
const LIST_KEYS = "ListKeys";

function toSentKey(key: ApiKey): SentKey {
  const { customerId, apiKeyId, name, tier, tokensPerMinute, tokensPerDay, disabled, disabledMs } = key;
  return create(ApiKeySchema, {
    customerId,
    apiKeyId,
    name,
    tier,
    ...(tokensPerMinute !== undefined && { tokensPerMinute }),
    ...(tokensPerDay !== undefined && { tokensPerDay }),
    disabled,
    createTime: timestampFromMs(key.createdMs),
    updateTime: timestampFromMs(key.updatedMs),
    ...(disabledMs !== undefined && { disableTime: timestampFromMs(disabledMs) }),
  });
}
