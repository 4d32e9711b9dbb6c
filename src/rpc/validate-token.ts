// Requests about credentials from the wire to the domain, with every violation named at once. Throw `invalid_request`.
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import {
  type CreateDashboardTokenRequest,
  type CreateTokenRequest,
  type ListTokensRequest,
  type RevokeDashboardTokensRequest,
  Scope as SentScope,
  type AccessToken as SentToken,
} from "../../gen/metering/admin/v1/token_service_pb.ts";
import { TOKEN_CUSTOMERS_MAX } from "../app/manage-tokens.ts";
import type { AccessTokenDefinition } from "../app/ports/access-tokens.ts";
import type { Scope } from "../domain/access.ts";
import { DASHBOARD_TTL, type DashboardSubject } from "./dashboard-tokens.ts";
import { ID_MAX, textProblem } from "./text-bounds.ts";
import { Violations } from "./violations.ts";

const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;
const PAGE_TOKEN_MAX = 2048;

/** Between the proto's words and the domain's. */
export const SENT_SCOPES: ReadonlyMap<SentScope, Scope> = new Map([
  [SentScope.RECORD, "record"],
  [SentScope.READ, "read"],
  [SentScope.ADMIN, "admin"],
]);

export function toTokenDefinition({ token }: CreateTokenRequest, nowMs: number): AccessTokenDefinition {
  const found = new Violations();
  if (token === undefined) found.add("invalid_request", "token", "is required");
  const definition = token && {
    name: checked(found, "token.name", token.name),
    scopes: scopesOf(found, token.scopes),
    customers: customersOf(found, token),
    expiresMs: endOf(found, token, nowMs),
  };
  throwAny(found);
  if (definition === undefined) throw new Error("a definition without a token");
  return definition;
}

export function toTokenId({ tokenId }: { readonly tokenId: string }): string {
  const found = new Violations();
  checked(found, "token_id", tokenId);
  throwAny(found);
  return tokenId;
}

export function toTokenListQuestion(sent: ListTokensRequest): { live: boolean; pageSize: number; pageToken: string } {
  const { includeEnded, pageSize, pageToken } = sent;
  const found = new Violations();
  if (pageSize < 0) found.add("invalid_request", "page_size", "must not be negative");
  if (pageToken.length > PAGE_TOKEN_MAX) found.add("invalid_request", "page_token", "is not a token of this service");
  throwAny(found);
  return {
    live: !includeEnded,
    pageSize: pageSize === 0 ? PAGE_SIZE_DEFAULT : Math.min(pageSize, PAGE_SIZE_MAX),
    pageToken,
  };
}

export function toDashboardQuestion(request: CreateDashboardTokenRequest): {
  readonly subject: DashboardSubject;
  readonly ttlMs: number;
} {
  const found = new Violations();
  const { ttl } = request;
  const subject = subjectOf(found, request);
  const ttlMs = ttl === undefined ? DASHBOARD_TTL.defaultMs : durationMs(ttl);
  if (!(ttlMs >= DASHBOARD_TTL.minMs && ttlMs <= DASHBOARD_TTL.maxMs))
    found.add("invalid_request", "ttl", "must be 1 minute to 24 hours");
  throwAny(found);
  return { subject, ttlMs };
}

export function toDashboardSubject(request: RevokeDashboardTokensRequest): DashboardSubject {
  const found = new Violations();
  const subject = subjectOf(found, request);
  throwAny(found);
  return subject;
}

function subjectOf(
  found: Violations,
  { subject }: Pick<CreateDashboardTokenRequest | RevokeDashboardTokensRequest, "subject">,
): DashboardSubject {
  if (subject.case === undefined) found.add("invalid_request", "subject", "is required");
  if (subject.case === "customerId") checked(found, "customer_id", subject.value);
  if (subject.case === "allCustomers" && !subject.value) found.add("invalid_request", "all_customers", "must be true");
  return subject.case === "customerId" ? { customerId: subject.value } : "all";
}

function scopesOf(found: Violations, sent: readonly SentScope[]): readonly Scope[] {
  const scopes = sent.slice(0, SENT_SCOPES.size + 1).flatMap((scope) => SENT_SCOPES.get(scope) ?? []);
  if (scopes.length === 0 || scopes.length !== sent.length || new Set(scopes).size !== scopes.length)
    found.add("invalid_request", "token.scopes", "must name 1..3 scopes, none twice");
  return scopes;
}

function customersOf(found: Violations, { customerIds, allCustomers }: SentToken): readonly string[] | undefined {
  if (allCustomers === customerIds.length > 0)
    found.add("invalid_request", "token.customer_ids", "must be given, or all_customers, and not both");
  if (customerIds.length > TOKEN_CUSTOMERS_MAX)
    found.add("invalid_request", "token.customer_ids", `must be at most ${TOKEN_CUSTOMERS_MAX}`);
  else for (const [i, id] of customerIds.entries()) checked(found, `token.customer_ids[${i}]`, id);
  return allCustomers ? undefined : customerIds;
}

function endOf(found: Violations, { expireTime }: SentToken, nowMs: number): number | undefined {
  if (expireTime === undefined) return undefined;
  const expiresMs = timestampMs(expireTime);
  // The end of what a Timestamp can say.
  if (!(expiresMs > nowMs && expiresMs <= 253_402_300_799_999))
    found.add("invalid_request", "token.expire_time", "must be in the future");
  return expiresMs;
}

function checked(found: Violations, field: string, text: string): string {
  const problem = textProblem(text, 1, ID_MAX);
  if (problem !== undefined) found.add("invalid_request", field, problem);
  return text;
}

function throwAny(found: Violations): void {
  const error = found.toError();
  if (error !== undefined) throw error;
}
