// API keys as an operator defines them. One adapter, postgres.
import type { KeyLimits, KeyRef } from "../../domain/limits.ts";

/** What an operator says of a key. */
export interface ApiKeyDefinition extends KeyRef, KeyLimits {
  /** For people. */
  readonly name: string;
  readonly disabled: boolean;
}

export interface ApiKey extends ApiKeyDefinition {
  readonly createdMs: number;
  readonly updatedMs: number;
  readonly disabledMs: number | undefined;
}

/** The fields that change; one that is there with undefined takes the key's own limit away. */
export type ApiKeyChange = Partial<Omit<ApiKeyDefinition, keyof KeyRef>>;

/** A key as it stands after a change; undefined where it was deleted. */
export interface ApiKeyRevision extends KeyRef {
  readonly revision: bigint;
  readonly key: ApiKey | undefined;
}

/** Most keys of one customer. */
export const KEYS_PER_CUSTOMER_MAX = 10_000;

/** All reject with ledger_unavailable while Postgres is away; then a change may be done or not, and may be repeated. */
export interface ApiKeys {
  /**
   * Defines a key, and counts from the ledger what it used so far in the windows that are not over, in one transaction: no record is missed
   * or counted twice. Idempotent. Holds the customer's shard while it counts: a millisecond for some thousand records of the customer's day.
   */
  create(definition: ApiKeyDefinition): Promise<ApiKeyCreation>;
  get(key: KeyRef): Promise<ApiKey | undefined>;
  /** In the order of their bytes, after `after`; of one customer where one is named. At most `limit`. */
  list(customerId: string | undefined, after: KeyRef | undefined, limit: number): Promise<readonly ApiKey[]>;
  /** Undefined: it is not defined. */
  update(key: KeyRef, change: ApiKeyChange): Promise<ApiKey | undefined>;
  /** Whether there was one. */
  delete(key: KeyRef): Promise<boolean>;
  /** Changes after a revision, in their order, at most `limit`: none is missed, and none comes late. */
  changesSince(revision: bigint, limit: number): Promise<readonly ApiKeyRevision[]>;
}

/** `exists`: defined before, as it is told; equal or not is for the caller to see. */
export type ApiKeyCreation =
  | { readonly kind: "created"; readonly key: ApiKey }
  | { readonly kind: "exists"; readonly key: ApiKey }
  | { readonly kind: "too_many" };
