// Access tokens as they are kept: everything but the secret.
import type { Scope } from "../../domain/access.ts";

/** Most tokens that are neither revoked nor expired: every process holds them all in memory, some 500 bytes each. */
export const ACCESS_TOKENS_MAX = 10_000;

export interface AccessTokenDefinition {
  /** For people. */
  readonly name: string;
  /** At least one. */
  readonly scopes: readonly Scope[];
  /** Undefined: all. */
  readonly customers: readonly string[] | undefined;
  readonly expiresMs: number | undefined;
}

export interface AccessToken extends AccessTokenDefinition {
  readonly tokenId: string;
  readonly createdMs: number;
  /** To the minute; undefined: never used. */
  readonly lastUsedMs: number | undefined;
  readonly revokedMs: number | undefined;
}

/** A token with what its secret is checked against. */
export interface CheckableToken extends AccessToken {
  readonly secretHash: Uint8Array;
  /** Grows with every creation and revocation. */
  readonly revision: bigint;
}

/** How long a revocation of dashboard tokens is kept: none of them lives more than a day, and clocks differ. Milliseconds. */
export const REVOCATION_KEPT_MS = 172_800_000;

/** Dashboard tokens that were issued before are none. */
export interface DashboardRevocation {
  /** "": everybody's, the operators' too. */
  readonly customerId: string;
  readonly notBeforeMs: number;
  /** Of the same count as access tokens'. */
  readonly revision: bigint;
}

/** While the ledger is away all of these reject with `ledger_unavailable`. */
export interface AccessTokens {
  /** Undefined where there are ACCESS_TOKENS_MAX already. */
  create(tokenId: string, secretHash: Uint8Array, definition: AccessTokenDefinition): Promise<AccessToken | undefined>;
  get(tokenId: string): Promise<AccessToken | undefined>;
  /** Ordered by id, those after `after`; `live`: only those neither revoked nor expired. */
  list(question: { after: string; limit: number; live: boolean }): Promise<readonly AccessToken[]>;
  /** As it then is; undefined where there is none. A repeat changes nothing. */
  revoke(tokenId: string): Promise<AccessToken | undefined>;
  /** What changed after a revision, in order, revoked tokens too. */
  changesSince(revision: bigint, limit: number): Promise<readonly CheckableToken[]>;
  /** Ends the dashboard tokens of a customer, or ("") everybody's, that were issued so far. Resolves to the instant they must be issued from. */
  revokeDashboards(customerId: string): Promise<number>;
  /** Revocations after a revision, in order. */
  dashboardRevocationsSince(revision: bigint, limit: number): Promise<readonly DashboardRevocation[]>;
  /** Never moves a last use back. */
  markUsed(uses: ReadonlyMap<string, number>): Promise<void>;
}
