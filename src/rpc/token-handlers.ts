// The RPCs of TokenService, transport-neutral. Every rejection is a MeteringError, or a bug.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  AccessTokenSchema,
  type CreateDashboardTokenRequest,
  type CreateDashboardTokenResponse,
  CreateDashboardTokenResponseSchema,
  type CreateTokenRequest,
  type CreateTokenResponse,
  CreateTokenResponseSchema,
  type ListTokensRequest,
  type ListTokensResponse,
  ListTokensResponseSchema,
  type RevokeDashboardTokensRequest,
  type RevokeDashboardTokensResponse,
  RevokeDashboardTokensResponseSchema,
  type RevokeTokenRequest,
  type RevokeTokenResponse,
  RevokeTokenResponseSchema,
  type AccessToken as SentToken,
} from "../../gen/metering/admin/v1/token_service_pb.ts";
import type { ManageTokens } from "../app/manage-tokens.ts";
import type { OpaqueTokens } from "../app/opaque-tokens.ts";
import type { AccessToken } from "../app/ports/access-tokens.ts";
import type { Clock } from "../app/ports/clock.ts";
import { MeteringError } from "../domain/errors.ts";
import type { DashboardTokens } from "./dashboard-tokens.ts";
import {
  SENT_SCOPES,
  toDashboardQuestion,
  toDashboardSubject,
  toTokenDefinition,
  toTokenId,
  toTokenListQuestion,
} from "./validate-token.ts";

export interface TokenHandlerOptions {
  readonly tokens: ManageTokens;
  readonly dashboards: DashboardTokens;
  readonly pages: OpaqueTokens;
  readonly clock: Clock;
}

/** Marks a page token as this RPC's own. */
const LIST_TOKENS = "ListTokens";

/** One set of handlers serves every transport, so that they answer alike. */
export class TokenHandlers {
  readonly #options: TokenHandlerOptions;

  constructor(options: TokenHandlerOptions) {
    this.#options = options;
  }

  /** See the proto. */
  async createToken(request: CreateTokenRequest): Promise<CreateTokenResponse> {
    const { tokens, clock } = this.#options;
    const { token, secret } = await tokens.create(toTokenDefinition(request, clock.nowMs()));
    return create(CreateTokenResponseSchema, { token: toSentToken(token), secret });
  }

  /** See the proto. */
  async listTokens(request: ListTokensRequest): Promise<ListTokensResponse> {
    const { live, pageSize, pageToken } = toTokenListQuestion(request);
    const after = pageToken === "" ? "" : this.#openPage(pageToken, live);
    const tokens = await this.#options.tokens.list({ after, limit: pageSize + 1, live });
    const page = tokens.slice(0, pageSize);
    const last = page.at(-1);
    const more = tokens.length > pageSize && last !== undefined;
    const nextPageToken = more ? this.#options.pages.seal("page", [LIST_TOKENS, live, last.tokenId]) : "";
    return create(ListTokensResponseSchema, { tokens: page.map(toSentToken), nextPageToken });
  }

  /** See the proto. */
  async revokeToken(request: RevokeTokenRequest): Promise<RevokeTokenResponse> {
    const token = await this.#options.tokens.revoke(toTokenId(request));
    return create(RevokeTokenResponseSchema, { token: toSentToken(token) });
  }

  /** See the proto. */
  async createDashboardToken(request: CreateDashboardTokenRequest): Promise<CreateDashboardTokenResponse> {
    const { subject, ttlMs } = toDashboardQuestion(request);
    const { token, expiresMs } = await this.#options.dashboards.create(subject, ttlMs);
    return create(CreateDashboardTokenResponseSchema, { token, expireTime: timestampFromMs(expiresMs) });
  }

  /** See the proto. */
  async revokeDashboardTokens(request: RevokeDashboardTokensRequest): Promise<RevokeDashboardTokensResponse> {
    const subject = toDashboardSubject(request);
    const notBeforeMs = await this.#options.tokens.revokeDashboards(subject === "all" ? "" : subject.customerId);
    return create(RevokeDashboardTokensResponseSchema, { notBeforeTime: timestampFromMs(notBeforeMs) });
  }

  #openPage(token: string, live: boolean): string {
    const content = this.#options.pages.open("page", token, "page_token");
    const [use, sentLive, after] = Array.isArray(content) ? (content as unknown[]) : [];
    if (use === LIST_TOKENS && sentLive === live && typeof after === "string") return after;
    const description = "belongs to another request; only page_size may change between pages";
    const violations = [{ field: "page_token", description }];
    throw new MeteringError({ kind: "invalid_request", violations }, `page_token: ${description}`);
  }
}

function toSentToken(token: AccessToken): SentToken {
  const { tokenId, name, scopes, customers, createdMs, expiresMs, lastUsedMs, revokedMs } = token;
  return create(AccessTokenSchema, {
    tokenId,
    name,
    scopes: [...SENT_SCOPES].filter(([, scope]) => scopes.includes(scope)).map(([sent]) => sent),
    customerIds: [...(customers ?? [])],
    allCustomers: customers === undefined,
    createTime: timestampFromMs(createdMs),
    ...(expiresMs !== undefined && { expireTime: timestampFromMs(expiresMs) }),
    ...(lastUsedMs !== undefined && { lastUseTime: timestampFromMs(lastUsedMs) }),
    ...(revokedMs !== undefined && { revokeTime: timestampFromMs(revokedMs) }),
  });
}
